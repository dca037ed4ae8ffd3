"""`vermas bead create|update|close|reopen|dep`: each one transaction with its event, then a wake-up of the rig."""

from __future__ import annotations

import os
import sqlite3
import sys
from typing import Any

import click

from vermas.beads import dependencies, ids
from vermas.beads.record import checked_priority, checked_status, checked_title, checked_type, new_record
from vermas.cli import beadfiles
from vermas.cli.app import current_town, json_option
from vermas.cli.beadview import Opened, brief
from vermas.cli.output import emit, one_line
from vermas.errors import Conflict, UsageError
from vermas.store import beads, events, polecats
from vermas.store.timestamps import format_us, now_us, parse_us

_TEXT_BYTES = 16 * 1024 * 1024

#: Options that are called otherwise than their field.
_FIELD = {"acceptance": "acceptance_criteria"}

force_option = click.option("--force", is_flag=True, help="Even though a polecat works on it.")


@click.command()
@click.argument("title")
@click.option("--rig", help="Whose bead it is.")
@click.option("-d", "--description", default="", metavar="TEXT", help="What is to be done; `-` reads it from standard input.")
@click.option("--acceptance", default="", metavar="TEXT", help="When it is done.")
@click.option("-t", "--type", "issue_type", default="task", metavar="TYPE", help="task, bug, feature, epic, chore, …")
@click.option("-p", "--priority", default="2", metavar="N", help="0 or P0 (critical) to 4 or P4 (backlog).")
@click.option("--dep", "deps", multiple=True, metavar="[TYPE:]ID", help="What it depends on (repeatable); TYPE is blocks by default.")
@click.option("--parent", metavar="ID", help="Make it a child of this bead: ID.1, ID.2, …")
@click.option("-l", "--label", "labels", multiple=True, help="Repeatable.")
@click.option("--assignee", default="", metavar="NAME", help="Who does it: then no polecat takes it.")
@json_option
def create(
    title: str,
    rig: str | None,
    description: str,
    acceptance: str,
    issue_type: str,
    priority: str,
    deps: tuple[str, ...],
    parent: str | None,
    labels: tuple[str, ...],
    assignee: str,
    as_json: bool,
) -> None:
    """Create a bead. Prints its id."""
    opened = Opened(current_town())
    name = opened.rig(rig) if rig is not None or parent is None else str(beads.alive(opened.db, parent)["rig"])
    fields: dict[str, Any] = {
        "issue_type": checked_type(issue_type, beads.used(opened.db, "issue_type")),
        "priority": checked_priority(priority),
        "description": _text(description, "description"),
        "acceptance_criteria": _text(acceptance, "acceptance criteria"),
        "assignee": _text(assignee, "assignee"),
        "labels": [_text(label, "label") for label in labels],
    }
    title = checked_title(_text(title, "title"))
    opened.take_in(name)
    with opened.store.write() as db:
        edges = [dependencies.parsed(text) for text in deps] + ([("parent-child", parent)] if parent is not None else [])
        bead_id = _new_id(db, name, opened.config.rig(name).prefix, parent)
        entries = _entries(db, bead_id, edges)
        record = new_record(bead_id, title, now=now_us(), created_by=_actor(), dependencies=entries, **fields)
        beads.insert(db, name, record)
        events.append(db, rig=name, kind="bead-created", bead_id=bead_id, title=title, by=_actor())
    beadfiles.changed(opened.town, opened.store, name)
    emit(brief(beads.alive(opened.db, bead_id)), as_json, f"{bead_id}  {one_line(title)}")


@click.command()
@click.argument("bead_id", metavar="BEAD")
@click.option("--title", metavar="TEXT")
@click.option("-d", "--description", metavar="TEXT", help="`-` reads it from standard input.")
@click.option("--acceptance", metavar="TEXT", help="When it is done.")
@click.option("--design", metavar="TEXT")
@click.option("--notes", metavar="TEXT")
@click.option("-s", "--status", metavar="STATUS", help="open, in_progress, blocked, deferred, pinned or closed.")
@click.option("-t", "--type", "issue_type", metavar="TYPE")
@click.option("-p", "--priority", metavar="N")
@click.option("--assignee", metavar="NAME", help='"" for nobody.')
@click.option("--add-label", "added", multiple=True, metavar="LABEL", help="Repeatable.")
@click.option("--remove-label", "removed", multiple=True, metavar="LABEL", help="Repeatable.")
@click.option("--defer-until", metavar="TIME", help='Not ready before this moment (ISO 8601, UTC unless it says otherwise); "" for now.')
@force_option
@json_option
def update(bead_id: str, force: bool, as_json: bool, **given: Any) -> None:
    """Change fields of a bead. An empty text removes the field."""
    given = {name: _text(value, name) if isinstance(value, str) else value for name, value in given.items()}
    opened = Opened(current_town())
    opened.take_in(None)
    with opened.store.write() as db:
        row = beads.alive(db, bead_id)
        fields = _fields(db, row, given)
        status = given["status"]
        if not fields and status is None:
            raise UsageError(f"nothing to change: see `vermas bead update --help`, and `vermas bead show {bead_id}` for what it is")
        if status is not None or "assignee" in fields:
            _insist_free(db, bead_id, force, "update")
        changed = bool(fields) and beads.update(db, bead_id, fields)
        if status is not None:
            changed = beads.set_status(db, bead_id, checked_status(status, beads.used(db, "status"))) or changed
        if changed:
            names = [*fields, *(["status"] if status is not None else [])]
            events.append(db, rig=row["rig"], kind="bead-updated", bead_id=bead_id, fields=names, by=_actor())
    if changed:
        beadfiles.changed(opened.town, opened.store, row["rig"])
    emit(brief(beads.alive(opened.db, bead_id)), as_json, f"{bead_id} {'updated' if changed else 'is so already'}")


@click.command()
@click.argument("bead_ids", metavar="BEAD...", nargs=-1, required=True)
@click.option("-r", "--reason", default="", metavar="TEXT", help="Why; words like `failed` or `wontfix` start what depends on its failure.")
@force_option
@json_option
def close(bead_ids: tuple[str, ...], reason: str, force: bool, as_json: bool) -> None:
    """Close beads, all of them or none. A bead that a polecat works on is closed by landing its work:
    stop the polecat first, or use --force."""
    _move(bead_ids, "closed", as_json, reason=_text(reason, "reason"), force=force)


@click.command()
@click.argument("bead_ids", metavar="BEAD...", nargs=-1, required=True)
@json_option
def reopen(bead_ids: tuple[str, ...], as_json: bool) -> None:
    """Open closed beads again, all of them or none, assigned to nobody."""
    _move(bead_ids, "open", as_json)


@click.group()
def dep() -> None:
    """Dependencies between beads."""


@dep.command("add")
@click.argument("bead_id", metavar="BEAD")
@click.argument("target", metavar="DEPENDS_ON")
@click.option(
    "--type", "kind", default="", metavar="TYPE", help="blocks (default), parent-child, conditional-blocks, waits-for, related, …"
)
@json_option
def add_dependency(bead_id: str, target: str, kind: str, as_json: bool) -> None:
    """Make BEAD depend on DEPENDS_ON. A cycle is refused."""
    parsed, target = dependencies.parsed(target)
    kind = kind or parsed
    _depend(bead_id, target, kind, as_json, added=True)


@dep.command("remove")
@click.argument("bead_id", metavar="BEAD")
@click.argument("target", metavar="DEPENDS_ON")
@click.option("--type", "kind", default="", metavar="TYPE", help="Only of this type.")
@json_option
def remove_dependency(bead_id: str, target: str, kind: str, as_json: bool) -> None:
    """Make BEAD no longer depend on DEPENDS_ON."""
    _depend(bead_id, target, kind, as_json, added=False)


def _depend(bead_id: str, target: str, kind: str, as_json: bool, *, added: bool) -> None:
    opened = Opened(current_town())
    opened.take_in(None)
    with opened.store.write() as db:
        row = beads.alive(db, bead_id)
        if added:
            changed = dependencies.add(db, bead_id, target, _text(kind, "type"), _actor())
        else:
            changed = dependencies.remove(db, bead_id, target, kind)
        if changed:
            event = "dependency-added" if added else "dependency-removed"
            events.append(db, rig=row["rig"], kind=event, bead_id=bead_id, depends_on=target, type=kind, by=_actor())
    if changed:
        beadfiles.changed(opened.town, opened.store, row["rig"])
    said = "depends on" if added else "no longer depends on"
    emit(brief(beads.alive(opened.db, bead_id)), as_json, f"{bead_id} {said} {one_line(target)}{'' if changed else ' already'}")


def _move(bead_ids: tuple[str, ...], status: str, as_json: bool, *, reason: str = "", force: bool = True) -> None:
    opened = Opened(current_town())
    opened.take_in(None)
    rigs: set[str] = set()
    with opened.store.write() as db:
        for bead_id in dict.fromkeys(bead_ids):
            row = beads.alive(db, bead_id)
            if (row["status"] == "closed") == (status == "closed"):
                raise Conflict(
                    f"{bead_id} is {row['status']} already" if status == "closed" else f"{bead_id} is not closed, it is {row['status']}"
                )
            _insist_free(db, bead_id, force, "close")
            beads.set_status(db, bead_id, status, assignee="" if status == "open" else None, close_reason=reason)
            kind = "bead-closed" if status == "closed" else "bead-reopened"
            events.append(db, rig=row["rig"], kind=kind, bead_id=bead_id, reason=reason, by=_actor())
            rigs.add(row["rig"])
    for rig in rigs:
        beadfiles.changed(opened.town, opened.store, rig)
    data = [brief(beads.alive(opened.db, bead_id)) for bead_id in dict.fromkeys(bead_ids)]
    emit(data, as_json, "\n".join(f"{each['id']} {'closed' if status == 'closed' else 'reopened'}" for each in data))


def _insist_free(db: sqlite3.Connection, bead_id: str, force: bool, verb: str) -> None:
    at_work = polecats.of_bead(db, bead_id)
    if at_work is not None and not force:
        name = at_work["id"]
        raise Conflict(
            f"{name} works on {bead_id}: end it first with `vermas polecat nuke {name}` (its work is kept), or `vermas bead {verb} --force`"
        )


def _fields(db: sqlite3.Connection, row: sqlite3.Row, given: dict[str, Any]) -> dict[str, Any]:
    """The record's fields that the options ask for, checked."""
    fields: dict[str, Any] = {}
    if given["title"] is not None:
        fields["title"] = checked_title(given["title"])
    if given["issue_type"] is not None:
        fields["issue_type"] = checked_type(given["issue_type"], beads.used(db, "issue_type"))
    if given["priority"] is not None:
        fields["priority"] = checked_priority(given["priority"])
    for option in ("description", "acceptance", "design", "notes", "assignee"):
        if given[option] is not None:
            fields[_FIELD.get(option, option)] = given[option] or None
    if given["defer_until"] is not None:
        fields["defer_until"] = _moment(given["defer_until"])
    if given["added"] or given["removed"]:
        present = brief(row).get("labels")
        kept = [label for label in (present if isinstance(present, list) else []) if label not in given["removed"]]
        fields["labels"] = [*kept, *(_text(label, "label") for label in dict.fromkeys(given["added"]) if label not in kept)] or None
    return fields


def _moment(text: str) -> str | None:
    if not text:
        return None
    us = parse_us(text)
    if not us:
        raise UsageError(f"--defer-until {text!r} is not a time like 2030-01-31T09:00:00+01:00 or 2030-01-31")
    return format_us(us)


def _new_id(db: sqlite3.Connection, rig: str, prefix: str, parent: str | None) -> str:
    if parent is None:
        return ids.new_id(db, prefix)
    theirs = beads.alive(db, parent)["rig"]
    if theirs != rig:
        raise UsageError(f"{parent} belongs to rig {theirs}: its children do too")
    return ids.child_id(db, parent)


def _entries(db: sqlite3.Connection, bead_id: str, edges: list[tuple[str, str]]) -> list[dict[str, str]]:
    for kind, target in edges:
        dependencies.check(db, bead_id, target, kind)
    return [dependencies.entry(bead_id, target, kind, _actor()) for kind, target in dict.fromkeys(edges)]


def _text(text: str, name: str) -> str:
    """A text from the command line, or from standard input for a description of `-`."""
    if text == "-" and name == "description":
        try:
            text = sys.stdin.buffer.read(_TEXT_BYTES + 1).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"the description on standard input is not UTF-8 at byte {error.start + 1}") from None
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise UsageError(f"the {name} is not UTF-8") from None
    if size > _TEXT_BYTES:
        raise UsageError(f"the {name} is larger than {_TEXT_BYTES // 1024**2} MiB")
    return text


def _actor() -> str:
    """Who types: the polecat's address in a session, else the user."""
    return os.environ.get("BD_ACTOR") or os.environ.get("USER") or ""
