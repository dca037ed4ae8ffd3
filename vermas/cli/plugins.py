"""`vermas plugins` and `vermas plugin new`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from vermas.cli.app import current_town, json_option
from vermas.cli.output import emit, one_line, print_table
from vermas.errors import NotFound, PluginError
from vermas.plugins import KINDS, Catalog, Installed, catalog, load
from vermas.plugins.implementations import implemented
from vermas.town import around


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One plugin: where it comes from, which rigs name it, what it implements (None: nothing is known, since it was not imported)."""

    name: str
    distribution: str = ""
    version: str = ""
    module: str = ""
    requires: str = ""
    rigs: tuple[str, ...] = ()
    hooks: tuple[str, ...] | None = None
    wraps: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One rig: its plugins, for each hook those that answer in the order in which they are asked, and what keeps it from running."""

    rig: str
    plugins: tuple[str, ...]
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    error: str = ""


@click.command()
@click.option("--rig", "rig_name", metavar="R", help="Only the plugins of this rig, in its order.")
@click.option("--hook", metavar="H", help="Who implements this hook, in the order in which they are asked.")
@click.option("--load", "load_all", is_flag=True, help="Import also those that no rig names, to see their hooks.")
@json_option
def plugins(rig_name: str | None, hook: str | None, load_all: bool, as_json: bool) -> None:
    """List plugins: installed ones and those that rigs name, their distributions, the hooks they implement."""
    wanted = None if hook is None else _hook(hook)
    installed = catalog()
    lists = _rigs(rig_name)
    orders = [_order(rig, names, installed) for rig, names in lists.items()]
    shown = _shown(lists, installed, only_active=rig_name is not None, load_all=load_all)
    if wanted is not None:
        shown = [one for one in shown if wanted in (one.hooks or ()) or wanted in one.wraps]
        orders = [Order(rig=one.rig, plugins=one.plugins, hooks={wanted: one.hooks.get(wanted, ())}, error=one.error) for one in orders]
    emit({"plugins": shown, "rigs": orders}, as_json, lambda: _print(shown, orders, wanted))


@click.group()
def plugin() -> None:
    """Write plugins."""


@plugin.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(["runtime"]), required=True, help="What it is to do.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Default: vermas-NAME here.")
@json_option
def new(name: str, kind: str, into: Path | None, as_json: bool) -> None:
    """Write the distribution of a new plugin NAME: a working one, with tests, to change step by step."""
    from vermas.scaffold import write

    made = write(name, kind, into)
    steps = [f"cd {made.directory}", "python -m pip install -e .", "pytest", f"vermas plugins --load   # {name} is listed"]
    files = [f"wrote {one_line(path)}" for path in made.files]
    lines = [*files, "", "Now:", *(f"  {one_line(step)}" for step in steps)]
    emit({"directory": made.directory, "files": list(made.files)}, as_json, "\n".join(lines))


def _hook(name: str) -> str:
    full = name if name.startswith("vermas_") else "vermas_" + name.replace("-", "_")
    if full not in KINDS:
        raise NotFound("hook", name, [hook if name.startswith("vermas_") else hook.removeprefix("vermas_") for hook in KINDS])
    return full


def _rigs(chosen: str | None) -> dict[str, tuple[str, ...]]:
    """The plugin list of each rig. Outside a town there are no rigs; asking for one there is an error."""
    from vermas import config

    named = click.get_current_context().find_root().params.get("town") or os.environ.get("VERMAS_TOWN")
    if chosen is None and not named and around(os.getcwd()) is None:
        return {}
    settings = config.load(current_town())
    rigs = settings.rigs.values() if chosen is None else [settings.rig(chosen)]
    return {rig.name: tuple(rig.plugins) for rig in rigs}


def _shown(rigs: Mapping[str, Sequence[str]], installed: Catalog, *, only_active: bool, load_all: bool) -> list[Shown]:
    named: dict[str, list[str]] = {}
    for rig, names in rigs.items():
        for name in names:
            named.setdefault(name, []).append(rig)
    others = sorted(entry.name for entry in installed.plugins() if entry.name not in named)
    names = [*named, *([] if only_active else dict.fromkeys(others))]
    return [one for name in names for one in _one(name, named.get(name, []), installed, load_all=load_all)]


def _one(name: str, rigs: Sequence[str], installed: Catalog, *, load_all: bool) -> list[Shown]:
    """Normally one; several when distributions clash."""
    hooks: tuple[str, ...] | None = None
    wraps: tuple[str, ...] = ()
    error = ""
    if rigs or load_all:
        try:
            (loaded,) = load([name], catalog=installed, complete=False).plugins
            hooks = tuple(hook for hook in KINDS if hook in implemented(loaded.module))
            wraps = tuple(hook for hook in KINDS if hook in implemented(loaded.module, wrappers=True))
        except PluginError as refused:
            error = str(refused)
    offers: Sequence[Installed | None] = installed.offers(name) or [None]
    return [
        Shown(
            name=name,
            distribution=offer.distribution if offer else "",
            version=offer.version if offer else "",
            module=offer.module if offer else "",
            requires=offer.requires if offer else "",
            rigs=tuple(rigs),
            hooks=hooks,
            wraps=wraps,
            error=error or ("" if offer is None or offer.compatible else f"needs vermas{offer.requires}"),
        )
        for offer in offers
    ]


def _order(rig: str, names: Sequence[str], installed: Catalog) -> Order:
    error = ""
    try:
        loaded = load(names, catalog=installed)
    except PluginError as refused:
        error = str(refused)
        loaded = load([name for name in dict.fromkeys(names) if _loads(name, installed)], catalog=installed, complete=False)
    asked = {hook: tuple(one.name for one in loaded.implementers(hook)) for hook in KINDS}
    return Order(rig=rig, plugins=tuple(names), hooks={hook: made for hook, made in asked.items() if made}, error=error)


def _loads(name: str, installed: Catalog) -> bool:
    try:
        load([name], catalog=installed, complete=False)
    except PluginError:
        return False
    return True


def _print(shown: Sequence[Shown], orders: Sequence[Order], hook: str | None) -> None:
    if hook is None:
        rows = [(one.name, one.distribution, one.version, ", ".join(one.rigs) or "-", _hooks_of(one)) for one in shown]
        print_table(("plugin", "distribution", "version", "rigs", "hooks"), rows, empty="no plugins; try: pip install 'vermas[default]'")
    else:
        print(f"{hook} ({KINDS[hook]})")
        for one in orders:
            print(f"  rig {one.rig}: {', '.join(map(one_line, one.hooks[hook])) or 'nobody'}")
        if not orders:
            print(f"  installed: {', '.join(one_line(one.name) for one in shown) or 'nobody, among those imported (--load imports all)'}")
    for one in orders:
        if one.error:
            print(f"rig {one.rig} cannot run: {one_line(one.error)}")


def _hooks_of(one: Shown) -> str:
    if one.error:
        return f"error: {one.error}"
    if one.hooks is None:
        return "(not active)"
    short = [hook.removeprefix("vermas_") for hook in one.hooks] + [f"wraps {hook.removeprefix('vermas_')}" for hook in one.wraps]
    return ", ".join(short) or "none"
