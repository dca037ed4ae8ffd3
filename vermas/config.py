"""The configuration of a town: what was said, where, and what it comes to.

`vermas.toml` is the user's file; `.vermas/config.toml` holds what verbs set and wins over it key by key. A rig's own table wins over
`[defaults]`, and `[defaults]` over what is built in.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vermas.configfile import ConfigFile, KeyPath, parse_key, walk
from vermas.configschema import DEFAULTS, RIG, check_file, check_key
from vermas.errors import ConfigError, NotFound
from vermas.names import derived_prefix
from vermas.town import Town
from vermas.types import Rig


@dataclass(frozen=True, slots=True, kw_only=True)
class TownConfig:
    """The `[town]` table."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RigConfig:
    """One rig with all defaults applied. `check` is "" when nobody said what must pass; `"none"` lets work land unchecked.
    `max_attempts` bounds how often a bead's work is submitted before a human is called. `env_pass` names variables of the
    operator's environment that sessions get; `options[PLUGIN]` is that plugin's raw table."""

    name: str
    origin: str
    prefix: str
    target: str
    check: str
    agent: str
    plugins: tuple[str, ...]
    max_polecats: int
    max_attempts: int
    env_pass: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """A value and who says so: `FILE:LINE` or `built in`."""

    value: Any
    where: str


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. `files` are its sources, the strongest first."""

    town: TownConfig
    rigs: Mapping[str, RigConfig]
    files: tuple[ConfigFile, ...]

    def rig(self, name: str) -> RigConfig:
        try:
            return self.rigs[name]
        except KeyError:
            raise NotFound("rig", name, self.rigs, "" if self.rigs else "add one with `vermas rig add NAME ORIGIN`") from None

    def get(self, key: str) -> Any:
        """The value in force at a dotted key; a table for the name of a table."""
        path = parse_key(key)
        check_key(path, self.rigs)
        try:
            return walk(self.show(), path)
        except KeyError:
            raise ConfigError(f"{key} is not set") from None

    def explain(self, key: str) -> list[Source]:
        """Everything said about one value, the one in force first."""
        if isinstance(self.get(key), Mapping):
            raise ConfigError(f"{key} is a table: name one value in it, or see `vermas config get {key}`")
        return list(_sources(self.files, parse_key(key))) or [Source(self.get(key), "built in")]

    def show(self) -> dict[str, Any]:
        """The effective values as plain data."""
        defaults = {key: next(_sources(self.files, ("defaults", key))).value for key in DEFAULTS if key != "options"}
        defaults["options"] = _options(self.files, ("defaults",))
        return {"town": {"name": self.town.name}, "defaults": defaults, "rigs": {name: _plain(rig) for name, rig in self.rigs.items()}}


def load(town: Town) -> Config:
    """Read and check both files."""
    return build(town, (ConfigFile.read(town.set_file), ConfigFile.read(town.config_file)))


def build(town: Town, files: tuple[ConfigFile, ...]) -> Config:
    """The configuration that `files` (the strongest first) come to, or a ConfigError that names file, line and key."""
    for file in files:
        check_file(file)
    names = {name: None for file in reversed(files) for name in file.data.get("rigs", {})}
    rigs = {name: _rig(town, files, name) for name in names}
    for name, rig in rigs.items():
        rival = next((other.name for other in rigs.values() if other.prefix == rig.prefix and other.name < name), None)
        if rival is not None:
            raise _place(files, ("rigs", name, "prefix"), f"the rigs {rival!r} and {name!r} share the bead prefix {rig.prefix!r}")
    town_name = next(_sources(files, ("town", "name")), Source(os.path.basename(town.root), "built in")).value
    return Config(TownConfig(name=town_name), rigs, files)


def rig_view(town: Town, config: Config, rig: str, options: Mapping[str, Any], plugins: tuple[str, ...] | None = None) -> Rig:
    """A rig as its plugins see it; `options` are their validated Options, `plugins` overrides the configured ones for one run."""
    chosen = config.rig(rig)
    return Rig(
        name=rig,
        town_id=town.id,
        town=town.root,
        path=town.rig_dir(rig),
        yard=town.yard(rig),
        vault=town.vault(rig),
        run_dir=town.run_dir,
        origin=chosen.origin,
        target=chosen.target,
        prefix=chosen.prefix,
        check=chosen.check,
        agent=chosen.agent,
        max_polecats=chosen.max_polecats,
        plugins=chosen.plugins if plugins is None else plugins,
        options=options,
    )


def default_plugins(agent: str) -> tuple[str, ...]:
    """The shipped plugins for an agent, with tmux where it is installed."""
    return ("slots", "worktree", "tmux" if shutil.which("tmux") else "process", agent, "watchdog", "refinery")


def resolve_origin(origin: str, base: str) -> str:
    """A local path made absolute from `base`; a URL or `host:path` as it is."""
    if "://" in origin or ":" in origin.split("/", 1)[0]:
        return origin
    return os.path.normpath(os.path.join(base, os.path.expanduser(origin)))


def _rig(town: Town, files: tuple[ConfigFile, ...], name: str) -> RigConfig:
    values: dict[str, Any] = {}
    for key in RIG:
        source = next(_sources(files, ("rigs", name, key)), None)
        if source is None and key == "origin":
            raise _place(files, ("rigs", name), f"[rigs.{name}] has no origin")
        values[key] = source.value if source else None
    values["origin"] = resolve_origin(values["origin"], town.root)
    values["options"] = _options(files, ("defaults",), ("rigs", name))
    values["plugins"], values["env_pass"] = tuple(values["plugins"]), tuple(values["env_pass"])
    return RigConfig(name=name, **values)


def _sources(files: tuple[ConfigFile, ...], path: KeyPath) -> Iterator[Source]:
    """Everything said about a key path, the strongest first: the rig's table, the defaults, what is built in."""
    yield from _said(files, path)
    if path[0] == "town":
        return
    rig = path[1] if path[0] == "rigs" else ""
    key = path[2:] if rig else path[1:]
    agent = next(_said(files, ("rigs", rig, "agent")), None) if rig else None
    if rig:
        for source in _said(files, ("defaults", *key)):
            yield _for_agent(source, files, agent) if key == ("plugins",) else source
    default_agent = next(_said(files, ("defaults", "agent")), Source("claude", "built in"))
    built_in: dict[str, Any] = {
        "target": "main",
        "check": "",
        "agent": "claude",
        "plugins": list(default_plugins((agent or default_agent).value)),
        "max_polecats": 5,
        "max_attempts": 3,
        "env_pass": [],
        "prefix": derived_prefix(rig, frozenset()) if rig else None,
    }
    if len(key) == 1 and built_in.get(key[0]) is not None:
        yield Source(built_in[key[0]], "built in")


def _said(files: tuple[ConfigFile, ...], path: KeyPath) -> Iterator[Source]:
    for file in files:
        try:
            yield Source(file.value(path), file.where(path))
        except KeyError:
            continue


def _for_agent(source: Source, files: tuple[ConfigFile, ...], agent: Source | None) -> Source:
    """Default plugins for a rig with an agent of its own: that agent stands where the default agent does."""
    default_agent = next(_said(files, ("defaults", "agent")), Source("claude", "built in")).value
    if agent is None or agent.value in source.value or default_agent not in source.value:
        return source
    swapped = [agent.value if plugin == default_agent else plugin for plugin in source.value]
    return Source(swapped, f"{source.where}, for agent {agent.value}")


def _options(files: tuple[ConfigFile, ...], *tables: KeyPath) -> dict[str, dict[str, Any]]:
    """The options of all plugins; later tables win over earlier ones, and stronger files over weaker ones, key by key."""
    merged: dict[str, dict[str, Any]] = {}
    for table in tables:
        for source in reversed(list(_said(files, (*table, "options")))):
            for plugin, options in source.value.items():
                merged[plugin] = {**merged.get(plugin, {}), **options}
    return merged


def _place(files: tuple[ConfigFile, ...], path: KeyPath, message: str) -> ConfigError:
    """The error at the place in the file that says most about `path`."""
    for length in range(len(path), 0, -1):
        for file in files:
            try:
                file.value(path[:length])
            except KeyError:
                continue
            return file.wrong(path[:length], message)
    return ConfigError(message)


def _plain(rig: RigConfig) -> dict[str, Any]:
    values = {item.name: getattr(rig, item.name) for item in fields(rig) if item.name != "name"}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
