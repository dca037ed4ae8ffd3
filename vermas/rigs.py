"""Adding and removing rigs. A rig is its entry in the configuration, written last; a directory without one is a rig half made."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vermas import git, plugins
from vermas.config import Config, RigConfig, load, resolve_origin
from vermas.configedit import editing, propose, save
from vermas.configfile import display
from vermas.errors import ConfigError, Conflict, UsageError
from vermas.names import derived_prefix, wrong_branch, wrong_origin, wrong_plugin, wrong_prefix, wrong_rig
from vermas.processes import FileLock
from vermas.store import Store, events, polecats, submissions
from vermas.town import Town

_OURS = frozenset({"yard.git", "repo.git", "gates", "trash", "polecats", "orphans", ".beads"})


@dataclass(frozen=True, slots=True)
class Added:
    """A rig and what is still missing before it can work, a sentence each."""

    rig: RigConfig
    advice: tuple[str, ...]


def add(town: Town, name: str, origin: str, **given: Any) -> Added:
    """Make a rig's repositories and enter it in the configuration; an interrupted `add` is completed by the same call.

    `given` are those of `prefix`, `target`, `check`, `agent`, `plugins`, `max_polecats` that were asked for. Names, plugins and the
    origin are checked before anything is made.
    """
    _check_names(name, {"origin": origin, **given})
    origin = resolve_origin(origin, os.getcwd())
    with FileLock(town.rig_lock(name), "rig add", blocking=False) as lock:
        held = git.HELD.set((*git.HELD.get(), lock.fd))
        try:
            return _add(town, name, origin, given)
        except BaseException:
            if not os.path.lexists(town.rig_dir(name)):
                os.unlink(lock.path)
            raise
        finally:
            git.HELD.reset(held)


def _add(town: Town, name: str, origin: str, given: dict[str, Any]) -> Added:
    config = load(town)
    known = config.rigs.get(name)
    if known is not None:
        _check_same(known, origin, given)
        git.create_rig_repositories(known.origin, known.target, town.yard(name), town.vault(name))
        return Added(known, _advice(known))
    prefix = given.get("prefix") or derived_prefix(name, frozenset(rig.prefix for rig in config.rigs.values()))
    rival = next((rig.name for rig in config.rigs.values() if rig.prefix == prefix), None)
    if rival is not None:
        raise Conflict(f"the prefix {prefix!r} is taken by rig {rival!r}: choose another with --prefix")
    entry = {"origin": origin, "prefix": prefix, "target": given.get("target") or "main"}
    entry |= {key: given[key] for key in ("check", "agent", "plugins", "max_polecats") if given.get(key) is not None}
    plugins.load(_enter(town, name, entry, propose).plugins)
    fresh = _claim_directory(town, name)
    try:
        entry["target"], sha = git.create_rig_repositories(origin, given.get("target"), town.yard(name), town.vault(name))
    except BaseException:
        if fresh:
            shutil.rmtree(town.rig_dir(name), ignore_errors=True)
        raise
    rig = _enter(town, name, entry, save)
    store = Store(town.db)
    with store.write() as db:
        events.append(db, rig=name, kind="rig-added", origin=origin, target=rig.target, commit=sha)
    store.close()
    return Added(rig, _advice(rig))


def remove(town: Town, name: str) -> str:
    """Take a rig out of the configuration and put its directory, with all work in it, into the archive; answers where it is then."""
    rig = load(town).rig(name)
    with FileLock(town.rig_lock(name), "rig remove", blocking=False) as lock:
        _check_idle(town, rig)
        with editing(town) as draft:
            config = load(town)
            where = config.files[1].where(("rigs", name))
            if name in config.files[1].data.get("rigs", {}):
                raise ConfigError(f"rig {name!r} is in your file, {where}: remove its table there first, then repeat this")
            kept = _archive(town, name)
            draft["rigs"].pop(name, None)
            save(town, draft)
        os.unlink(lock.path)
    store = Store(town.db)
    with store.write() as db:
        events.append(db, rig=name, kind="rig-removed", archived=kept)
    store.close()
    return kept


def _check_names(name: str, given: dict[str, Any]) -> None:
    tests = {"origin": wrong_origin, "prefix": wrong_prefix, "target": wrong_branch, "agent": wrong_plugin}
    wrong = wrong_rig(name)
    if wrong:
        raise UsageError(f"{_shown(name)}: {wrong}")
    for key, test in tests.items():
        if given.get(key) is not None and (wrong := test(given[key])):
            raise UsageError(f"{key} {_shown(given[key])}: {wrong}")
    for plugin in given.get("plugins") or ():
        if wrong := wrong_plugin(plugin):
            raise UsageError(f"plugin {_shown(plugin)}: {wrong}")


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:40]!r}… ({len(text)} characters)"


def _check_same(known: RigConfig, origin: str, given: dict[str, Any]) -> None:
    """A repeated `add` may complete a rig but not change it."""
    asked = {"origin": origin, **{key: value for key, value in given.items() if value is not None}}
    for key, value in asked.items():
        present = getattr(known, key)
        if (tuple(value) if isinstance(value, (list, tuple)) else value) != present:
            raise Conflict(
                f"rig {known.name!r} exists, with {key} {display(present)}: `vermas config set rigs.{known.name}.{key} VALUE` changes it"
            )


def _enter(town: Town, name: str, entry: dict[str, Any], act: Callable[[Town, dict[str, Any]], Config]) -> RigConfig:
    """The rig that `entry` makes, after `save` or only in a proposal."""
    with editing(town) as draft:
        draft.setdefault("rigs", {})[name] = entry
        return act(town, draft).rig(name)


def _claim_directory(town: Town, name: str) -> bool:
    """Whether the rig's directory is new. Raises Conflict when it holds something that `add` did not make."""
    path = town.rig_dir(name)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        foreign = sorted(set(os.listdir(path)) - _OURS) if os.path.isdir(path) else [""]
        if foreign:
            raise Conflict(f"{path} exists already and is not a rig's directory: move it away or choose another name") from None
        return False
    return True


def _advice(rig: RigConfig) -> tuple[str, ...]:
    found = []
    if not rig.check:
        found.append(
            f"nothing lands without a check: vermas config set rigs.{rig.name}.check 'COMMAND' (\"none\" lets work land unchecked)"
        )
    if rig.agent == "script" and not rig.options.get("script", {}).get("command"):
        found.append(f"the script agent needs its command: vermas config set rigs.{rig.name}.options.script.command '[\"PROGRAM\"]'")
    if rig.agent not in rig.plugins:
        found.append(f"its agent {rig.agent!r} is none of its plugins ({', '.join(rig.plugins)}): one of them must answer for that agent")
    try:
        plugins.load(rig.plugins).options(rig.options)
    except ConfigError as error:
        found.append(str(error))
    return tuple(found)


def _check_idle(town: Town, rig: RigConfig) -> None:
    store = Store(town.db)
    living = [row["id"] for row in polecats.living(store.read, rig.name)]
    waiting = [row["bead_id"] for row in submissions.waiting(store.read, rig.name)]
    store.close()
    if living:
        raise Conflict(f"rig {rig.name!r} has polecats: {', '.join(living)}; end them with `vermas polecat nuke` first")
    if waiting:
        raise Conflict(f"rig {rig.name!r} has work that has not landed: {', '.join(waiting)}; `vermas run {rig.name}` lands it")


def _archive(town: Town, name: str) -> str:
    """Move the rig's directory away, whole; "" when there is none (an interrupted `remove` moved it)."""
    path = town.rig_dir(name)
    if not os.path.lexists(path):
        return ""
    kept = os.path.join(town.archive, f"rig-{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}")
    os.rename(path, kept)
    return kept
