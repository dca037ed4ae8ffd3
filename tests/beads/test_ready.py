"""What may be worked on, rule by rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vermas.beads.ready import ready_ids
from vermas.store import Store, beads
from vermas.store.timestamps import format_us, parse_us

CREATED = "2026-01-05T22:11:03.123456789-08:00"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create(tmp_path / "town.db", "abcdefgh")
    yield store
    store.close()


def record(bead_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": bead_id, "title": "t", "status": "open", "created_at": CREATED, "updated_at": CREATED, **fields}


def add(store: Store, *records: dict[str, Any], rig: str = "api") -> None:
    with store.write() as db:
        for item in records:
            beads.insert(db, rig, item)


def needs(*targets: str, type: str = "blocks", metadata: str = "") -> list[dict[str, str]]:
    return [{"depends_on_id": target, "type": type, "metadata": metadata} for target in targets]


def ready(store: Store, **options: Any) -> list[str]:
    return ready_ids(store.read, "api", **options)


@pytest.mark.parametrize(
    ("fields", "is_ready"),
    [
        ({}, True),
        ({"status": "in_progress"}, False),
        ({"status": "deferred"}, False),
        ({"pinned": True}, False),
        ({"ephemeral": True}, False),
        ({"wisp": True}, False),
        ({"issue_type": "mr"}, False),
        ({"issue_type": "message"}, False),
        ({"issue_type": "epic"}, True),
        ({"issue_type": None, "status": None, "priority": None}, True),
        ({"assignee": "alice"}, False),
        ({"defer_until": "2999-01-01T00:00:00Z"}, False),
        ({"defer_until": "2020-01-01T00:00:00.123456789+02:00"}, True),
        ({"dependencies": needs("api-missing", "external:x:y")}, True),
        ({"dependencies": needs("api-open")}, False),
        ({"dependencies": needs("api-open", type="related")}, True),
        ({"dependencies": needs("api-closed", "api-pinned", "api-deleted")}, True),
        ({"dependencies": needs("api-hooked")}, False),
        ({"dependencies": "nonsense"}, True),
        ({"dependencies": [None, 1, {"type": "blocks"}]}, True),
        ({"dependencies": needs("api-open", type="conditional-blocks")}, False),
        ({"dependencies": needs("api-closed", type="conditional-blocks")}, False),
        ({"dependencies": needs("api-failed", type="conditional-blocks")}, True),
        ({"dependencies": needs("api-epic", type="waits-for")}, False),
        ({"dependencies": needs("api-epic", type="waits-for", metadata='{"gate":"any-children"}')}, True),
        ({"dependencies": needs("api-x", type="waits-for", metadata='{"spawner_id":"api-epic"}')}, False),
        ({"dependencies": needs("api-open", type="waits-for")}, False),
        ({"dependencies": needs("api-closed", type="waits-for", metadata="{torn")}, True),
        ({"dependencies": needs("api-epic", type="parent-child")}, True),
        ({"dependencies": needs("api-waiting.1", type="parent-child")}, False),
        ({"dependencies": needs("api-deferred", type="parent-child")}, False),
        ({"dependencies": needs("api-one", type="parent-child")}, True),
        ({"dependencies": needs("api-one")}, False),
    ],
)
def test_ready_rules(store: Store, fields: dict[str, Any], is_ready: bool) -> None:
    add(
        store,
        record("api-open"),
        record("api-closed", status="closed"),
        record("api-pinned", status="pinned"),
        record("api-deleted", status="tombstone"),
        record("api-hooked", status="hooked"),
        record("api-failed", status="closed", close_reason="Tests FAILED twice"),
        record("api-epic", issue_type="epic"),
        record("api-epic.1", status="closed", dependencies=needs("api-epic", type="parent-child")),
        record("api-epic.2", dependencies=needs("api-epic", type="parent-child")),
        record("api-waiting", dependencies=needs("api-open")),
        record("api-waiting.1", dependencies=needs("api-waiting", type="parent-child")),
        record("api-deferred", defer_until="2999-01-01T00:00:00Z"),
        record("api-one", **{"dependencies": needs("api-one", type="parent-child"), **fields}),
    )
    assert ("api-one" in ready(store)) is is_ready
    assert "api-open" in ready(store)


def test_a_deferral_ends_by_itself(store: Store) -> None:
    add(store, record("api-1", defer_until="2030-01-01T00:00:00Z"))
    until = parse_us("2030-01-01T00:00:00Z")
    assert ready(store, now=until - 1) == [] and ready(store, now=until) == ["api-1"]


def test_sorting_filters_and_limits(store: Store) -> None:
    now = parse_us("2026-02-01T00:00:00Z")
    hours = 3_600_000_000
    for name, age, priority, labels in [("old", 90, 0, ["a"]), ("older", 99, 4, ["a", "b"]), ("new", 1, 1, []), ("newish", 40, 1, ["b"])]:
        add(store, record(f"api-{name}", created_at=format_us(now - age * hours), priority=priority, labels=labels))
    add(store, record("api-mine", assignee="me", issue_type="bug", created_at=format_us(now)), record("web-1"), rig="web")

    def names(**options: Any) -> str:
        return " ".join(bead_id.removeprefix("api-") for bead_id in ready(store, now=now, **options))

    assert names() == "newish new older old"
    assert names(sort="priority") == "old newish new older"
    assert names(sort="oldest", limit=2) == "older old"
    assert names(labels=["a", "b"]) == "older" and names(any_labels=["b"], sort="oldest") == "older newish"
    assert names(types=["bug"]) == ""
    assert ready_ids(store.read, "web", assignee="me") == ["api-mine"]
    assert len(ready_ids(store.read, assignee=None)) == 6


def test_cycles_in_the_data_end(store: Store) -> None:
    add(
        store,
        record("api-1", dependencies=needs("api-2") + needs("api-2", type="parent-child")),
        record("api-2", dependencies=needs("api-1") + needs("api-1", type="parent-child")),
    )
    assert ready(store) == []
