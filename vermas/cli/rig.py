"""`vermas rig`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from vermas.cli.app import current_town, json_option
from vermas.cli.output import emit, one_line, print_table
from vermas.config import RigConfig, load
from vermas.town import Town


@click.group()
def rig() -> None:
    """Rigs: the projects of a town."""


@rig.command()
@click.argument("name")
@click.argument("origin")
@click.option("--prefix", help="What bead ids begin with. Default: made from NAME.")
@click.option("--target", metavar="BRANCH", help="Where finished work lands. Default: the origin's default branch.")
@click.option("--check", metavar="CMD", help='What must pass on the merged tree before it lands; "none" for nothing.')
@click.option("--plugins", metavar="A,B", help="The plugins of this rig, in the order in which they are asked.")
@click.option("--agent", metavar="NAME", help="The agent its polecats run. Default: claude.")
@click.option("--max", "max_polecats", type=click.IntRange(1, 1000), metavar="N", help="How many polecats at once. Default: 5.")
@json_option
def add(name: str, origin: str, plugins: str | None, as_json: bool, **given: Any) -> None:
    """Add the project whose git repository is ORIGIN (a URL or a path) as rig NAME."""
    from vermas.rigs import add as add_rig

    town = current_town()
    listed = None if plugins is None else [plugin.strip() for plugin in plugins.split(",")]
    added = add_rig(town, name, origin, plugins=listed, **given)
    lines = [f"rig {name}: {one_line(added.rig.origin)}, beads {added.rig.prefix}-…, lands on {one_line(added.rig.target)}"]
    lines += [f"note: {one_line(sentence)}" for sentence in added.advice]
    emit({**_data(town, added.rig), "advice": list(added.advice)}, as_json, "\n".join(lines))


@rig.command("list")
@json_option
def list_rigs(as_json: bool) -> None:
    """List the rigs."""
    town = current_town()
    rigs = list(load(town).rigs.values())

    def table() -> None:
        rows = [(one.name, one.prefix, one.target, one.agent, one.max_polecats, one.check or "(none set)", one.origin) for one in rigs]
        headers = ("name", "prefix", "target", "agent", "max", "check", "origin")
        print_table(headers, rows, empty="no rigs; add one with `vermas rig add NAME ORIGIN`")

    emit([_data(town, one) for one in rigs], as_json, table)


@rig.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one rig with all defaults applied."""
    from vermas.configfile import display

    town = current_town()
    data = _data(town, load(town).rig(name))
    emit(
        data,
        as_json,
        "\n".join(f"{key:<13} {one_line(value if isinstance(value, str) else display(value))}" for key, value in data.items()),
    )


@rig.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a rig that has no polecats and no unlanded work. Its directory is kept in .vermas/archive, its beads in the database."""
    from vermas.rigs import remove as remove_rig

    kept = remove_rig(current_town(), name)
    emit({"removed": name, "archived": kept}, as_json, f"removed rig {name}; its directory is kept in {one_line(kept)}")


def _data(town: Town, one: RigConfig) -> dict[str, Any]:
    return {**asdict(one), "path": town.rig_dir(one.name)}
