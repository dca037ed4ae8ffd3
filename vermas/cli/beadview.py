"""What `vermas bead` opens, and how it shows beads."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from vermas.beads.waiting import reasons
from vermas.cli import beadfiles
from vermas.cli.output import one_line, print_table, sanitize
from vermas.config import Config, load
from vermas.errors import UsageError
from vermas.store import Store
from vermas.store.records import loads
from vermas.town import Town

_TEXTS = ("description", "design", "acceptance_criteria", "notes")
_HEAD = ("status", "priority", "issue_type", "assignee", "labels", "created_at", "updated_at", "closed_at", "close_reason", "defer_until")
#: Shown in other ways, or for machines only.
_QUIET = {*_TEXTS, *_HEAD, "id", "rig", "title", "dependencies", "depends_on", "dependents", "waiting", "_type"}


class Opened:
    """A town with its configuration and its store, as most verbs need it."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.config: Config = load(town)
        self.store = Store(town.db)

    @property
    def db(self) -> sqlite3.Connection:
        return self.store.read

    def rig(self, name: str | None) -> str:
        """The rig that was named, the session's own, or the only one."""
        if name is not None:
            return self.config.rig(name).name
        rigs = list(self.config.rigs)
        own = os.environ.get("VERMAS_RIG", "")
        if own in rigs:
            return own
        if len(rigs) == 1:
            return rigs[0]
        if not rigs:
            raise UsageError("this town has no rig: add one with `vermas rig add NAME ORIGIN`")
        raise UsageError(f"say which rig with --rig: {', '.join(rigs)}")

    def take_in(self, rig: str | None) -> None:
        """See edits of the files of one rig, or of all."""
        beadfiles.take_in(self.town, self.store, self.config.rigs if rig is None else [self.config.rig(rig).name])


def brief(row: sqlite3.Row) -> dict[str, Any]:
    """A bead's record, with status, priority, type and title as the rules read them."""
    record: dict[str, Any] = loads(row["record"])
    return {**record, **{name: row[name] for name in ("id", "rig", "title", "status", "priority", "issue_type", "assignee")}}


def detail(db: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    """`brief`, and the bead's place among others."""
    outward = db.execute(
        "SELECT d.depends_on AS id, d.type, b.status, b.title FROM dependencies d LEFT JOIN beads b ON b.id = d.depends_on"
        " WHERE d.bead_id = ? ORDER BY d.position",
        (row["id"],),
    )
    inward = db.execute(
        "SELECT d.bead_id AS id, d.type, b.status, b.title FROM dependencies d JOIN beads b ON b.id = d.bead_id"
        " WHERE d.depends_on = ? AND b.status != 'tombstone' ORDER BY d.bead_id",
        (row["id"],),
    )
    places = {"depends_on": [_edge(edge) for edge in outward], "dependents": [_edge(edge) for edge in inward]}
    return {**brief(row), **places, "waiting": [] if row["status"] == "closed" else reasons(db, row)}


def table(data: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    rows = [(each["id"], each["status"], f"P{each['priority']}", each["issue_type"], each["assignee"], each["title"]) for each in data]
    print_table(("id", "status", "prio", "type", "assignee", "title"), rows, empty=empty)


def print_detail(data: Mapping[str, Any]) -> None:
    print(f"{one_line(data['id'])}  {one_line(data['title'])}")
    for name in ("rig", *_HEAD, *(name for name in data if name not in _QUIET)):
        value = data.get(name)
        if value not in (None, "", [], ()):
            print(f"  {one_line(name) + ':':<13} {one_line(_shown(value))}")
    for why in data["waiting"]:
        print(f"  not ready:    {one_line(why)}")
    for title, edges in (("depends on", data["depends_on"]), ("needed by", data["dependents"])):
        for edge in edges:
            status = edge["status"] or "not here"
            print(f"  {title}: {one_line(edge['id'])} ({one_line(edge['type'])}, {one_line(status)}) {one_line(edge['title'])}")
    for name in _TEXTS:
        if data.get(name):
            print(f"\n{name.replace('_', ' ')}:\n{sanitize(str(data[name]))}")


def _edge(row: sqlite3.Row) -> dict[str, str]:
    return {"id": row["id"], "type": row["type"], "status": row["status"] or "", "title": row["title"] or ""}


def _shown(value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return str(value)
