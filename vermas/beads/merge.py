"""One record from two that grew apart: the human wins for text, the claim wins for status."""

from __future__ import annotations

import json
from typing import Any

from vermas.store.records import text_of, with_field
from vermas.store.timestamps import format_us, now_us, parse_us

Record = dict[str, Any]
#: These belong together: whoever decides the status decides all of them.
_STATE = ("status", "assignee", "started_at", "closed_at", "close_reason", "closed_by_session")
_SETS = ("labels", "dependencies", "comments")
_TOMBSTONE_US = 30 * 86_400 * 1_000_000


def merge(ours: Record, theirs: Record, base: Record | None, *, claimed: bool) -> Record:
    """What a bead becomes when the database has `ours` and a file `theirs`; `base` is what both came from, if that is known.

    `claimed` says that a polecat works on it: then the file does not move its status. A tombstone stays one. Without a base, and for a
    copy older than the base, the newer `updated_at` wins as a whole.
    """
    if _status(ours) == "tombstone" or theirs == ours:
        return ours
    if _status(theirs) == "tombstone":
        return ours if claimed or _expired(theirs) else theirs
    if base is None:
        if _updated(theirs) < _updated(ours):
            return ours
        return _stamped(_with_state(theirs, ours), ours, theirs) if claimed else theirs
    if _updated(theirs) < _updated(base):
        return ours
    merged = _with_state(_text(ours, theirs, base), theirs if _their_state(ours, theirs, base, claimed) else ours)
    return _stamped(merged, ours, theirs)


def _text(ours: Record, theirs: Record, base: Record) -> Record:
    """The file's record, with what only the database changed."""
    merged = dict(theirs)
    for name in [*ours, *(name for name in base if name not in ours)]:
        mine, its, was = ours.get(name), theirs.get(name), base.get(name)
        if mine in (was, its):
            continue
        if its == was:
            merged = with_field(merged, name, mine)
        elif name in _SETS and isinstance(mine, list) and isinstance(its, list):
            merged[name] = _united(mine, its, was if isinstance(was, list) else [])
    return merged


def _united(mine: list[Any], its: list[Any], was: list[Any]) -> list[Any]:
    """The file's list with what the database added, without what it removed."""
    had, have = {_key(item) for item in was}, {_key(item) for item in mine}
    listed = {_key(item) for item in its}
    kept = [item for item in its if _key(item) in have or _key(item) not in had]
    return kept + [item for item in mine if _key(item) not in had and _key(item) not in listed]


def _key(item: Any) -> str:
    if isinstance(item, dict) and "depends_on_id" in item:
        return f"{item['depends_on_id']} {item.get('type')}"
    return json.dumps(item, sort_keys=True)


def _their_state(ours: Record, theirs: Record, base: Record, claimed: bool) -> bool:
    if claimed:
        return False
    they, we = (any(record.get(name) != base.get(name) for name in _STATE) for record in (theirs, ours))
    return they and (not we or _updated(theirs) >= _updated(ours))


def _with_state(record: Record, source: Record) -> Record:
    for name in _STATE:
        if record.get(name) != source.get(name):
            record = with_field(record, name, source.get(name))
    if _status(record) != "closed":
        return with_field(record, "closed_at", None) if "closed_at" in record else record
    return record if record.get("closed_at") else with_field(record, "closed_at", format_us(_updated(record) or now_us()))


def _stamped(merged: Record, ours: Record, theirs: Record) -> Record:
    """With an `updated_at` that is newer than both when it is neither."""
    newest = max(_updated(ours), _updated(theirs))
    for side in (theirs, ours):
        if {**merged, "updated_at": side.get("updated_at")} == side:
            return side
    return with_field(merged, "updated_at", format_us(max(now_us(), newest + 1)))


def _expired(tombstone: Record) -> bool:
    deleted = parse_us(tombstone.get("deleted_at"))
    return deleted != 0 and now_us() - deleted > _TOMBSTONE_US


def _status(record: Record) -> str:
    return text_of(record.get("status")).strip().lower() or "open"


def _updated(record: Record) -> int:
    return parse_us(record.get("updated_at"))
