"""Records as `Bead` values, and the records of new beads, checked before they exist."""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Iterable
from typing import Any

from vermas.errors import UsageError
from vermas.store.records import loads, priority_of, text_of, type_of
from vermas.store.timestamps import format_us
from vermas.types import Bead, Dependency

TITLE_CHARS = 500
#: What is read is taken as it is; what is written here has one of these types and statuses, or one that its rig uses already.
TYPES = (
    "task", "bug", "feature", "epic", "chore", "decision", "spike", "story", "milestone", "message", "molecule", "gate", "event",
    "merge-request", "agent", "role", "rig", "convoy", "slot", "queue",
)  # fmt: skip
STATUSES = ("open", "in_progress", "blocked", "deferred", "pinned", "closed", "staged_ready", "staged_warnings")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_ID_CHARS = 128
_PRIORITY = re.compile(r"[pP]?[0-4]")


def bead_from_row(db: sqlite3.Connection, row: sqlite3.Row) -> Bead:
    """The bead of a row of the table `beads`, with its dependencies."""
    record = loads(row["record"])
    labels = record.get("labels")
    edges = db.execute("SELECT depends_on, type FROM dependencies WHERE bead_id = ? ORDER BY position", (row["id"],))
    return Bead(
        id=row["id"],
        rig=row["rig"],
        title=row["title"],
        description=text_of(record.get("description")),
        acceptance_criteria=text_of(record.get("acceptance_criteria")),
        status=row["status"],
        issue_type=row["issue_type"],
        priority=row["priority"],
        assignee=row["assignee"],
        labels=tuple(text_of(label) for label in labels) if isinstance(labels, list) else (),
        dependencies=tuple(Dependency(bead_id=row["id"], depends_on=edge[0], type=edge[1]) for edge in edges),
        created_at=text_of(record.get("created_at")),
        updated_at=text_of(record.get("updated_at")),
        record=record,
    )


def usable_id(value: object) -> bool:
    """Whether a record's id can name branches, files and rows: words of letters, digits, `-` and `_`, joined by single dots."""
    return isinstance(value, str) and len(value) <= _ID_CHARS and _ID.fullmatch(value) is not None


def new_record(
    bead_id: str, title: str, *, issue_type: str, priority: int, now: int, created_by: str = "", **fields: Any
) -> dict[str, Any]:
    """The record of a new open bead, its fields in the order of beads; empty ones are left out. `now` is in microseconds."""
    moment = format_us(now)
    known: dict[str, Any] = {
        "id": bead_id,
        "title": title,
        "description": fields.pop("description", ""),
        "acceptance_criteria": fields.pop("acceptance_criteria", ""),
        "status": "open",
        "priority": priority,
        "issue_type": issue_type,
        "created_at": moment,
        "created_by": created_by,
        "updated_at": moment,
        **fields,
    }
    return {name: value for name, value in known.items() if name == "priority" or value not in ("", None, [], ())}


def checked_title(title: str) -> str:
    """A title that beads accepts, or UsageError."""
    if not title.strip():
        raise UsageError("a bead needs a title: it is empty")
    if len(title) > TITLE_CHARS:
        raise UsageError(f"a title has at most {TITLE_CHARS} characters, this one has {len(title)}: put the rest in the description (-d)")
    return title


def checked_priority(text: str) -> int:
    """0 to 4 from `2` or `P2`, or UsageError."""
    if not _PRIORITY.fullmatch(text):
        raise UsageError(f"priority {text!r} is not one of 0 (critical), 1, 2, 3, 4 (backlog), also written P0 to P4")
    return priority_of(text)


def checked_type(text: str, used: Iterable[str] = ()) -> str:
    """A known issue type (aliases resolved) or one in use, or UsageError."""
    return _checked("issue type", type_of(text), (*TYPES, *used))


def checked_status(text: str, used: Iterable[str] = ()) -> str:
    """A status that a person may set, or UsageError: `hooked` is what a claim sets, `tombstone` what deletion once left."""
    allowed = (*STATUSES, *(status for status in used if status not in ("hooked", "tombstone")))
    return _checked("status", text.strip().lower().replace("-", "_") if text.replace("-", "_") in STATUSES else text, allowed)


def _checked(kind: str, word: str, known: tuple[str, ...]) -> str:
    if word in known:
        return word
    near = difflib.get_close_matches(word, known, n=1)
    raise UsageError(f"no {kind} {word!r}; " + (f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(dict.fromkeys(known))}"))
