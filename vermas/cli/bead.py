"""`vermas bead`: looking at beads, and their files. What changes one bead is in `beadchange`."""

from __future__ import annotations

import os
import sys

import click

from vermas.beads.dependencies import cycle
from vermas.beads.ready import SORTS, ready_ids
from vermas.beads.record import checked_type
from vermas.cli import beadchange, beadfiles
from vermas.cli.app import current_town, json_option
from vermas.cli.beadview import Opened, brief, detail, print_detail, table
from vermas.cli.output import emit, one_line
from vermas.errors import VermasError
from vermas.store import beads

_IMPORT_USELESS = 1


@click.group()
def bead() -> None:
    """Beads: issues, the unit of work."""


for command in (beadchange.create, beadchange.update, beadchange.close, beadchange.reopen, beadchange.dep):
    bead.add_command(command)


@bead.command("list")
@click.option("--rig", help="Only those of one rig.")
@click.option("--status", "statuses", multiple=True, metavar="STATUS", help="Only these (repeatable). Default: all but closed.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these (repeatable).")
@click.option("--assignee", metavar="NAME", help="Only theirs.")
@click.option("--label", "labels", multiple=True, help="Only those with all of these (repeatable).")
@click.option("--all", "everything", is_flag=True, help="Also the closed ones.")
@json_option
def list_beads(
    rig: str | None,
    statuses: tuple[str, ...],
    types: tuple[str, ...],
    assignee: str | None,
    labels: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> None:
    """List beads, in the order in which they came."""
    opened = Opened(current_town())
    opened.take_in(rig)
    without = () if everything or statuses else ("closed",)
    wanted = {checked_type(name, beads.used(opened.db, "issue_type")) for name in types}
    rows = beads.listing(opened.db, rig or "", statuses, without=without)
    rows = [row for row in rows if (not wanted or row["issue_type"] in wanted) and (assignee is None or row["assignee"] == assignee)]
    data = [brief(row) for row in rows]
    if labels:
        data = [each for each in data if set(labels) <= set(map(str, each.get("labels") or ()))]
    emit(data, as_json, lambda: table(data, empty="no beads"))


@bead.command()
@click.argument("bead_id", metavar="BEAD")
@json_option
def show(bead_id: str, as_json: bool) -> None:
    """Show one bead: everything in its record, what it depends on, and why it is not ready."""
    opened = Opened(current_town())
    opened.take_in(None)
    data = detail(opened.db, beads.alive(opened.db, bead_id))
    emit(data, as_json, lambda: print_detail(data))


@bead.command()
@click.option("--rig", help="Only those of one rig.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N.")
@click.option("--sort", type=click.Choice(SORTS), default="hybrid", help="hybrid: of the last 48 hours by priority, then older by age.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these (repeatable).")
@click.option("--assignee", metavar="NAME", help="Theirs, instead of nobody's.")
@click.option("--anyone", is_flag=True, help="Whoever they are assigned to.")
@click.option("--label", "labels", multiple=True, help="Only those with all of these (repeatable).")
@click.option("--any-label", "any_labels", multiple=True, metavar="LABEL", help="Only those with one of these (repeatable).")
@json_option
def ready(
    rig: str | None,
    limit: int | None,
    sort: str,
    types: tuple[str, ...],
    assignee: str | None,
    anyone: bool,
    labels: tuple[str, ...],
    any_labels: tuple[str, ...],
    as_json: bool,
) -> None:
    """List what can be worked on now, the most urgent first: what `vermas run` would take."""
    opened = Opened(current_town())
    opened.take_in(rig)
    found = ready_ids(
        opened.db,
        rig or "",
        limit=limit,
        sort=sort,
        types=[checked_type(name, beads.used(opened.db, "issue_type")) for name in types],
        assignee=None if anyone else assignee or "",
        labels=labels,
        any_labels=any_labels,
    )
    data = [brief(beads.alive(opened.db, bead_id)) for bead_id in found]
    emit(data, as_json, lambda: table(data, empty="nothing is ready"))


@bead.command("import")
@click.argument("path", metavar="FILE")
@click.option("--rig", help="Whose beads they become.")
@json_option
def import_(path: str, rig: str | None, as_json: bool) -> None:
    """Merge the issues of a beads FILE (JSON lines) into a rig, by id; the newer record wins, a working polecat keeps its bead's status.

    Lines that cannot be used are named on stderr and kept in FILE.quarantine; the others are imported all the same. Exit code 0 if any
    line was usable (or the file is empty), 1 if none was.
    """
    from vermas.beads.exchange import import_file

    opened = Opened(current_town())
    name = opened.rig(rig)
    opened.take_in(name)
    report = import_file(opened.store, name, path)
    beadfiles.changed(opened.town, opened.store, name)
    beadfiles.name_rejected(path, report)
    _warn_of_cycle(opened, name)
    counts = {
        "inserted": len(report.inserted),
        "changed": len(report.changed),
        "unchanged": report.unchanged,
        "rejected": len(report.rejected),
    }
    rejected = [{"line": line.number, "reason": line.reason} for line in report.rejected]
    data = {
        "rig": name,
        **counts,
        "lines": rejected,
        "quarantine": report.quarantine,
        "elsewhere": report.elsewhere,
        "kept_claims": report.kept_claims,
    }
    words = {"new": counts["inserted"], "changed": counts["changed"], "unchanged": counts["unchanged"], "not usable": counts["rejected"]}
    said = ", ".join(f"{number} {word}" for word, number in words.items() if number) or "the file is empty"
    emit(data, as_json, f"{name}: {said}")
    if report.rejected and not (report.inserted or report.changed or report.unchanged or report.elsewhere):
        raise click.exceptions.Exit(_IMPORT_USELESS)


@bead.command("export")
@click.argument("path", metavar="[FILE]", required=False)
@click.option("--rig", help="Whose beads.")
@json_option
def export(path: str | None, rig: str | None, as_json: bool) -> None:
    """Write a rig's beads to FILE as JSON lines (`-`: print them). Without FILE: bring the rig's own issues.jsonl up to date, both ways.

    Fields that VerMAS does not know, tombstones and other kinds of lines are written as they were read.
    """
    from vermas.beads import exchange

    opened = Opened(current_town())
    name = opened.rig(rig)
    own = opened.town.issues(name)
    if path is None or os.path.realpath(path) == os.path.realpath(own):
        report = exchange.sync(opened.store, name, own)
        if report is not None:
            beadfiles.name_rejected(own, report)
        emit({"rig": name, "file": own}, as_json, f"{one_line(own)} is up to date")
        return
    opened.take_in(name)
    if path == "-":
        sys.stdout.buffer.writelines(exchange.lines(opened.store, name))
        return
    if os.path.isdir(path):
        raise VermasError(f"cannot write {path}: it is a directory")
    written = exchange.export_file(opened.store, name, path)
    emit({"rig": name, "file": os.path.abspath(path), "lines": written}, as_json, f"wrote {written} lines to {one_line(path)}")


def _warn_of_cycle(opened: Opened, rig: str) -> None:
    found = cycle(opened.db, rig)
    if found:
        beadfiles.warn(f"these wait for each other and will never be ready: {' -> '.join(found)}")
