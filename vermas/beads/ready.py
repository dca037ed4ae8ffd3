"""Which beads can be worked on now: the rules of beads' `ready`, computed over sets, in one pass for any number of beads."""

from __future__ import annotations

import json
import sqlite3

from vermas.store.timestamps import now_us

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Types that are records, not work.
NOT_WORK = ("merge-request", "gate", "molecule", "message", "agent", "role", "rig", "event")
#: A blocker in one of these no longer blocks.
DONE = ("closed", "pinned", "tombstone")
#: Words of a close reason that mean failure, for `conditional-blocks`.
FAILURE = (
    "failed", "failure", "rejected", "wontfix", "won't fix", "cancelled", "canceled", "abandoned", "blocked", "error", "timeout", "aborted",
)  # fmt: skip
SORTS = ("hybrid", "priority", "oldest")
_RECENT_US = 48 * 3600 * 1_000_000


def ready_ids(
    db: sqlite3.Connection,
    rig: str = "",
    *,
    limit: int | None = None,
    sort: str = "hybrid",
    assignee: str | None = "",
    statuses: Iterable[str] = ("open",),
    types: Iterable[str] = (),
    labels: Iterable[str] = (),
    any_labels: Iterable[str] = (),
    now: int | None = None,
) -> list[str]:
    """The ids of the ready beads of a rig (of all when ""), the most urgent first.

    `assignee` "" means nobody's, a name means theirs, None whoever's. `now` is in microseconds since the epoch. Sorting: `hybrid`
    takes those created in the last 48 hours first, by priority and age, then everything older, oldest first.
    """
    now = now_us() if now is None else now
    blocked = blocked_ids(db, now)
    found: list[str] = []
    filters = (rig, assignee, list(statuses), list(types), list(labels), list(any_labels))
    for bead_id in _candidates(db, sort, now, *filters):
        if bead_id not in blocked:
            found.append(bead_id)
            if limit is not None and len(found) >= limit:
                break
    return found


def blocked_ids(db: sqlite3.Connection, now: int) -> set[str]:
    """The beads that something holds back: a blocker, a condition, a fan-out, a deferral, or any of these on a parent."""
    roots = _blocked_by_blockers(db) | _blocked_by_conditions(db) | _waiting_for_children(db) | _deferred(db, now)
    return _with_descendants(db, roots)


def _blocked_by_blockers(db: sqlite3.Connection) -> set[str]:
    done = ", ".join(f"'{status}'" for status in DONE)
    rows = db.execute(
        "SELECT d.bead_id FROM dependencies d INDEXED BY dependencies_on CROSS JOIN beads b INDEXED BY beads_state ON b.id = d.depends_on"
        f" WHERE d.type = 'blocks' AND b.status NOT IN ({done})"
    )
    return {row[0] for row in rows}


def _blocked_by_conditions(db: sqlite3.Connection) -> set[str]:
    rows = db.execute(
        "SELECT d.bead_id, b.status, b.close_reason FROM dependencies d JOIN beads b ON b.id = d.depends_on"
        " WHERE d.type = 'conditional-blocks'"
    )
    return {bead_id for bead_id, status, reason in rows if not (status == "tombstone" or (status == "closed" and failed(reason)))}


def failed(close_reason: str) -> bool:
    """Whether a close reason tells of a failure."""
    reason = close_reason.lower()
    return any(word in reason for word in FAILURE)


def _waiting_for_children(db: sqlite3.Connection) -> set[str]:
    rows = db.execute("SELECT bead_id, depends_on, metadata FROM dependencies WHERE type = 'waits-for'").fetchall()
    return {bead_id for bead_id, depends_on, metadata in rows if not fanned_in(db, depends_on, metadata)}


def fanned_in(db: sqlite3.Connection, depends_on: str, metadata: str) -> bool:
    """Whether the children of a spawner are done as a `waits-for` demands; before there are any, whether the spawner itself is."""
    gate, spawner = _gate(metadata, depends_on)
    done = [
        row[0] in ("closed", "tombstone")
        for row in db.execute(
            "SELECT b.status FROM dependencies d JOIN beads b ON b.id = d.bead_id WHERE d.type = 'parent-child' AND d.depends_on = ?",
            (spawner,),
        )
    ]
    if done:
        return any(done) if gate == "any-children" else all(done)
    row = db.execute("SELECT status FROM beads WHERE id = ?", (spawner,)).fetchone()
    return row is None or row[0] in DONE


def _gate(metadata: str, depends_on: str) -> tuple[str, str]:
    try:
        data = json.loads(metadata) if metadata else {}
    except ValueError:
        data = {}
    if not isinstance(data, dict):
        data = {}
    return str(data.get("gate") or "all-children"), str(data.get("spawner_id") or depends_on)


def _deferred(db: sqlite3.Connection, now: int) -> set[str]:
    return {row[0] for row in db.execute("SELECT id FROM beads WHERE defer_us != 0 AND defer_us > ?", (now,))}


def _with_descendants(db: sqlite3.Connection, roots: set[str]) -> set[str]:
    """`roots` and everything below them by `parent-child`, also where the data has cycles."""
    if not roots:
        return roots
    children: dict[str, list[str]] = {}
    for parent, child in db.execute("SELECT depends_on, bead_id FROM dependencies WHERE type = 'parent-child'"):
        children.setdefault(parent, []).append(child)
    seen, pending = set(roots), [bead_id for bead_id in roots if bead_id in children]
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in seen:
                seen.add(child)
                pending.append(child)
    return seen


def _candidates(
    db: sqlite3.Connection,
    sort: str,
    now: int,
    rig: str,
    assignee: str | None,
    statuses: list[str],
    types: list[str],
    labels: list[str],
    any_labels: list[str],
) -> Iterator[str]:
    # Equality on rig and status lets the index `beads_work` give those of one status by age, unsorted and only as far as they are wanted.
    where = ["b.pinned = 0", "b.ephemeral = 0", "b.defer_us <= :now"]
    where.append("b.status = :status" if len(statuses) == 1 else "b.status IN (SELECT value FROM json_each(:statuses))")
    if rig:
        where.append("b.rig = :rig")
    if assignee is not None:
        where.append("b.assignee = :assignee")
    excluded = ", ".join(f"'{name}'" for name in NOT_WORK)
    where.append("b.issue_type IN (SELECT value FROM json_each(:types))" if types else f"b.issue_type NOT IN ({excluded})")
    where += [f"EXISTS (SELECT 1 FROM json_each(b.record, '$.labels') WHERE value = :label{n})" for n in range(len(labels))]
    if any_labels:
        where.append("EXISTS (SELECT 1 FROM json_each(b.record, '$.labels') WHERE value IN (SELECT value FROM json_each(:any_labels)))")
    values = {
        "status": statuses[0] if statuses else "",
        "statuses": json.dumps(statuses),
        "types": json.dumps(types),
        "any_labels": json.dumps(any_labels),
        "rig": rig,
        "assignee": assignee,
        "now": now,
        "recent": now - _RECENT_US,
    } | {f"label{n}": label for n, label in enumerate(labels)}
    for condition, order in _ORDERS[sort]:
        for row in db.execute(f"SELECT b.id FROM beads b WHERE {' AND '.join([*where, condition])} ORDER BY {order}", values):
            yield row[0]


#: What is asked for one after the other: (which of them, in which order).
_ORDERS = {
    "hybrid": (("b.created_us >= :recent", "b.priority, b.created_us, b.id"), ("b.created_us < :recent", "b.created_us, b.id")),
    "priority": (("true", "b.priority, b.created_us, b.id"),),
    "oldest": (("true", "b.created_us, b.id"),),
}
