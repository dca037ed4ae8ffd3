"""What a record of `issues.jsonl` means: the columns derived from it, and changes that leave the rest of it alone."""

from __future__ import annotations

import json

from vermas.store.timestamps import parse_us

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

TYPE_ALIASES = {
    "enhancement": "feature",
    "feat": "feature",
    "dec": "decision",
    "adr": "decision",
    "investigation": "spike",
    "user-story": "story",
    "ms": "milestone",
    "mr": "merge-request",
    "mol": "molecule",
}
#: The order in which beads writes the fields of a record; a new field is put where it belongs.
_FIELDS = (
    "_type", "id", "content_hash", "title", "description", "design", "acceptance_criteria", "notes", "spec_id", "status", "priority",
    "issue_type", "assignee", "owner", "estimated_minutes", "created_at", "created_by", "updated_at", "started_at", "closed_at",
    "close_reason", "closed_by_session", "due_at", "defer_until", "external_ref", "source_system", "metadata", "compaction_level",
    "compacted_at", "compacted_at_commit", "original_size", "labels", "dependencies", "comments", "deleted_at", "deleted_by",
    "delete_reason", "original_type", "sender", "ephemeral", "no_history", "wisp_type", "pinned", "is_template", "bonded_from",
)  # fmt: skip
_RANK = {name: rank for rank, name in enumerate(_FIELDS)}


def loads(line: str) -> Any:
    """The value of a line of JSON. Raises ValueError also for what cannot be written back (NaN, numbers too large, absurd nesting)."""
    try:
        return _decoder.decode(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


_decoder = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def with_field(record: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """`record` with one field set, or removed when None; a new one is put where beads would write it."""
    if value is None:
        return {key: item for key, item in record.items() if key != name}
    if name in record:
        return {**record, name: value}
    rank = _RANK.get(name, len(_RANK))
    items = list(record.items())
    place = next((index for index, (key, _) in enumerate(items) if _RANK.get(key, len(_RANK)) > rank), len(items))
    return dict([*items[:place], (name, value), *items[place:]])


def dumps(record: Mapping[str, Any]) -> str:
    """One line of JSON; text that UTF-8 cannot hold (lone surrogates) stays escaped."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    return text if _encodable(text) else json.dumps(record, separators=(",", ":"))


def columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of `beads` that come from the record."""
    return {
        "id": record["id"],
        "status": _word(record.get("status")) or "open",
        "priority": priority_of(record.get("priority")),
        "issue_type": type_of(record.get("issue_type")),
        "assignee": text_of(record.get("assignee")),
        "title": text_of(record.get("title")),
        "created_us": parse_us(record.get("created_at")),
        "updated_us": parse_us(record.get("updated_at")),
        "defer_us": parse_us(record.get("defer_until")),
        "pinned": int(record.get("pinned") is True),
        "ephemeral": int(record.get("ephemeral") is True or record.get("wisp") is True),
        "close_reason": text_of(record.get("close_reason")),
    }


def dependency_rows(record: Mapping[str, Any]) -> list[tuple[str, int, str, str, str]]:
    """The rows of the table `dependencies`; entries that name nothing stay in the record only."""
    entries = record.get("dependencies")
    if not isinstance(entries, list):
        return []
    return [
        (record["id"], place, text_of(entry.get("depends_on_id")), _word(entry.get("type")) or "blocks", _json(entry.get("metadata")))
        for place, entry in enumerate(entries)
        if isinstance(entry, dict) and text_of(entry.get("depends_on_id"))
    ]


def type_of(value: object) -> str:
    """The issue type as rules know it: aliases resolved, `task` when absent."""
    word = _word(value) or "task"
    return TYPE_ALIASES.get(word, word)


def priority_of(value: object) -> int:
    """0 to 4 from what a record may hold: a number or `P1`; 2 when there is nothing sensible."""
    if isinstance(value, str):
        value = value.strip().upper().removeprefix("P")
    try:
        return min(4, max(0, int(value)))  # type: ignore[call-overload, no-any-return]  # whatever does not convert raises
    except (TypeError, ValueError, OverflowError):
        return 2


def _word(value: object) -> str:
    return text_of(value).strip().lower()


def text_of(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else str(value)
    return text if _encodable(text) else text.encode("utf-8", "replace").decode("utf-8")


def _json(value: object) -> str:
    return text_of(value) if isinstance(value, str) or value is None else json.dumps(value)


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
