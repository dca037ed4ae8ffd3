"""Adding and removing edges between beads; a cycle among those that hold work back is refused."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from vermas.errors import Conflict, NotFound, UsageError
from vermas.store import beads
from vermas.store.records import loads, text_of
from vermas.store.timestamps import format_us, now_us

BLOCKING = ("blocks", "parent-child", "conditional-blocks", "waits-for")
TYPES = (
    *BLOCKING, "related", "discovered-from", "replies-to", "relates-to", "duplicates", "supersedes", "authored-by", "assigned-to",
    "approved-by", "attests", "tracks", "until", "caused-by", "validates", "delegated-from",
)  # fmt: skip
_TYPE_CHARS = 50


def parsed(text: str) -> tuple[str, str]:
    """(type, id) of `ID` or `TYPE:ID`."""
    kind, colon, target = text.partition(":")
    return (kind, target) if colon and kind in TYPES else ("blocks", text)


def entry(bead_id: str, depends_on: str, type: str, created_by: str = "") -> dict[str, str]:
    """An edge as the dependent's record holds it."""
    made = {"issue_id": bead_id, "depends_on_id": depends_on, "type": type, "created_at": format_us(now_us()), "created_by": created_by}
    return {name: value for name, value in made.items() if value}


def check(db: sqlite3.Connection, bead_id: str, depends_on: str, type: str) -> None:
    """Refuse an edge to nowhere, to itself, or one that closes a cycle. `external:…` targets are taken as they are."""
    if not type or len(type) > _TYPE_CHARS:
        raise UsageError(f"a dependency's type has 1 to {_TYPE_CHARS} characters")
    if bead_id == depends_on:
        raise Conflict(f"{bead_id} cannot depend on itself")
    if not depends_on.startswith("external:"):
        beads.alive(db, depends_on)
    found = path(db, depends_on, bead_id) if type in BLOCKING else []
    if found:
        raise Conflict(f"that would be a cycle: {' -> '.join([bead_id, *found])}; nothing in it could ever start")


def add(db: sqlite3.Connection, bead_id: str, depends_on: str, type: str = "blocks", created_by: str = "") -> bool:
    """Make `bead_id` depend on `depends_on`. False when it does already."""
    row = beads.alive(db, bead_id)
    check(db, bead_id, depends_on, type)
    entries = entries_of(loads(row["record"]))
    if any(_is(item, depends_on, type) for item in entries):
        return False
    return beads.update(db, bead_id, {"dependencies": [*entries, entry(bead_id, depends_on, type, created_by)]})


def remove(db: sqlite3.Connection, bead_id: str, depends_on: str, type: str = "") -> bool:
    """Drop the edges to `depends_on`, of one type or of all. Raises NotFound when there is none."""
    entries = entries_of(loads(beads.alive(db, bead_id)["record"]))
    kept = [item for item in entries if not _is(item, depends_on, type)]
    if len(kept) == len(entries):
        known = [text_of(item.get("depends_on_id")) for item in entries if isinstance(item, dict)]
        raise NotFound(f"dependency of {bead_id}", depends_on, known, "" if known else "it depends on nothing")
    return beads.update(db, bead_id, {"dependencies": kept or None})


def entries_of(record: dict[str, Any]) -> list[Any]:
    """The dependency entries of a record; none when the field is not a list."""
    entries = record.get("dependencies")
    return entries if isinstance(entries, list) else []


def path(db: sqlite3.Connection, start: str, goal: str) -> list[str]:
    """The beads from `start` to `goal` along what holds work back, or []."""
    came_from: dict[str, str] = {start: ""}
    pending = [start]
    while pending:
        here = pending.pop()
        if here == goal:
            return _walked(came_from, goal)
        for target in _held_by(db, here):
            if target not in came_from:
                came_from[target] = here
                pending.append(target)
    return []


def cycle(db: sqlite3.Connection, rig: str) -> list[str]:
    """One cycle among the beads of a rig that holds work back for ever, or []. Read data may have them."""
    edges: dict[str, list[str]] = {}
    rows = db.execute(
        "SELECT d.bead_id, d.depends_on FROM dependencies d JOIN beads b ON b.id = d.bead_id"
        " WHERE b.rig = ? AND d.type IN (SELECT value FROM json_each(?))",
        (rig, json.dumps(BLOCKING)),
    )
    for dependent, target in rows:
        edges.setdefault(dependent, []).append(target)
    finished: set[str] = set()
    for start in edges:
        found = _cycle_from(start, edges, finished)
        if found:
            return found
    return []


def _cycle_from(start: str, edges: dict[str, list[str]], finished: set[str]) -> list[str]:
    trail: list[str] = []
    on_trail: set[str] = set()
    pending = [(start, False)]
    while pending:
        here, leaving = pending.pop()
        if leaving:
            finished.add(here)
            on_trail.discard(trail.pop())
            continue
        if here in on_trail:
            return [*trail[trail.index(here) :], here]
        if here in finished:
            continue
        trail.append(here)
        on_trail.add(here)
        pending.append((here, True))
        pending.extend((target, False) for target in edges.get(here, ()))
    return []


def _walked(came_from: dict[str, str], goal: str) -> list[str]:
    steps = [goal]
    while came_from[steps[-1]]:
        steps.append(came_from[steps[-1]])
    return steps[::-1]


def _held_by(db: sqlite3.Connection, bead_id: str) -> list[str]:
    rows = db.execute(
        "SELECT depends_on FROM dependencies WHERE bead_id = ? AND type IN (SELECT value FROM json_each(?)) ORDER BY position",
        (bead_id, json.dumps(BLOCKING)),
    )
    return [row[0] for row in rows]


def _is(item: Any, depends_on: str, type: str) -> bool:
    return isinstance(item, dict) and item.get("depends_on_id") == depends_on and type in ("", item.get("type") or "blocks")
