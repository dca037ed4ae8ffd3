"""Beads in the database: claims, invariants of status, records kept in step, and what is ready."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vermas.errors import Conflict, NotFound
from vermas.store import Store, beads
from vermas.store.timestamps import format_us, now_us, parse_us

CREATED = "2026-01-05T22:11:03.123456789-08:00"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create(tmp_path / "town.db", "abcdefgh")
    yield store
    store.close()


def record(bead_id: str, **fields: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"id": bead_id, "title": f"Title of {bead_id}", "status": "open", "priority": 2, "issue_type": "task"}
    return {**data, "created_at": CREATED, "updated_at": CREATED, **fields}


def add(store: Store, *records: dict[str, Any], rig: str = "api") -> None:
    with store.write() as db:
        for item in records:
            beads.insert(db, rig, item)


def needs(*targets: str, type: str = "blocks", metadata: str = "") -> list[dict[str, str]]:
    return [{"depends_on_id": target, "type": type, "metadata": metadata} for target in targets]


def ready(store: Store, **options: Any) -> list[str]:
    return beads.ready_ids(store.read, "api", **options)


def stored(store: Store, bead_id: str) -> tuple[sqlite3.Row, dict[str, Any]]:
    row = beads.get(store.read, bead_id)
    assert row is not None
    data = json.loads(row["record"])
    assert row["status"] == data["status"] and row["assignee"] == data.get("assignee", "")
    assert ("closed_at" in data) == (data["status"] == "closed")
    assert row["updated_us"] == parse_us(data["updated_at"])
    return row, data


def test_a_claim_hooks_an_open_bead_and_keeps_its_record_in_step(store: Store) -> None:
    add(store, record("api-1", x_unknown={"b": 1, "a": [None]}))
    with store.write() as db:
        assert beads.claim(db, "api-1", "api/polecats/slot0")
    row, data = stored(store, "api-1")
    assert row["status"] == "hooked" and row["assignee"] == "api/polecats/slot0"
    assert data["x_unknown"] == {"b": 1, "a": [None]} and data["created_at"] == CREATED
    assert parse_us(data["started_at"]) > 0 and row["updated_us"] > parse_us(CREATED)
    assert list(data)[:6] == ["id", "title", "status", "priority", "issue_type", "assignee"]


@pytest.mark.parametrize("fields", [{"status": "closed"}, {"status": "hooked"}, {"status": "tombstone"}, {"assignee": "alice"}])
def test_a_bead_that_is_not_free_is_not_claimed(store: Store, fields: dict[str, Any]) -> None:
    add(store, record("api-1", **fields))
    before = store.read.execute("SELECT record, changed_seq FROM beads").fetchone()
    with store.write() as db:
        assert not beads.claim(db, "api-1", "p1")
        assert not beads.claim(db, "api-none", "p1")
    assert tuple(store.read.execute("SELECT record, changed_seq FROM beads").fetchone()) == tuple(before)


def test_threads_that_claim_the_same_beads_never_share_one(store: Store) -> None:
    names = [f"api-{n}" for n in range(20)]
    add(store, *(record(name) for name in names))
    won: list[str] = []

    def worker(me: str) -> None:
        for name in names:
            with store.write() as db:
                if beads.claim(db, name, me):
                    won.append(name)
        store.close()

    threads = [threading.Thread(target=worker, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(names)


def test_closing_and_reopening_keep_the_invariants(store: Store) -> None:
    add(store, record("api-1"))
    stamps = [stored(store, "api-1")[0]["updated_us"]]
    for status, reason in [("closed", "done"), ("open", ""), ("hooked", ""), ("closed", "")]:
        with store.write() as db:
            assert beads.set_status(db, "api-1", status, assignee="me" if status == "hooked" else "", close_reason=reason)
            assert not beads.set_status(db, "api-1", status, assignee=None, close_reason="another")
        row, data = stored(store, "api-1")
        assert data.get("close_reason", "") == reason == row["close_reason"]
        stamps.append(row["updated_us"])
    assert stamps == sorted(set(stamps))


def test_updated_at_grows_even_when_the_clock_went_back(store: Store) -> None:
    future = format_us(now_us() + 3_600_000_000)
    add(store, record("api-1", updated_at=future))
    with store.write() as db:
        beads.set_status(db, "api-1", "blocked")
    assert stored(store, "api-1")[0]["updated_us"] == parse_us(future) + 1


def test_tombstones_and_unknown_ids_are_not_found(store: Store) -> None:
    add(store, record("api-1", status="tombstone"), record("api-abc"))
    with store.write() as db:
        for bead_id, hint in [("api-1", "deleted"), ("api-abd", "did you mean 'api-abc'")]:
            with pytest.raises(NotFound, match=hint):
                beads.set_status(db, bead_id, "open")
    assert beads.ids(store.read) == ["api-abc"] and ready(store) == ["api-abc"]


def test_an_id_exists_once_in_a_town(store: Store) -> None:
    add(store, record("api-1"))
    with pytest.raises(Conflict, match="api-1"):
        add(store, record("api-1"), rig="web")


def test_removing_a_field_and_setting_none_that_is_absent(store: Store) -> None:
    add(store, record("api-1", notes="x", dependencies=needs("api-2")))
    with store.write() as db:
        assert beads.update(db, "api-1", {"notes": None, "dependencies": None})
        assert not beads.update(db, "api-1", {"notes": None, "title": "Title of api-1"})
    assert "notes" not in stored(store, "api-1")[1]
    assert store.read.execute("SELECT count(*) FROM dependencies").fetchone()[0] == 0


def test_the_file_is_behind_after_a_change_and_the_base_is_what_it_has(store: Store) -> None:
    add(store, record("api-1"))
    assert beads.behind(store.read, "api") and not beads.behind(store.read, "web")
    with store.write() as db:
        db.execute("UPDATE bead_files SET exported_seq = changed_seq")
    assert not beads.behind(store.read, "api")
    exported = beads.alive(store.read, "api-1")["record"]
    for title in ("one", "two"):
        with store.write() as db:
            beads.update(db, "api-1", {"title": title})
    assert beads.behind(store.read, "api") and beads.alive(store.read, "api-1")["base"] == exported


def test_lone_surrogates_and_nul_survive(store: Store) -> None:
    add(store, record("api-1", title="a\ud800b\0c"))
    row, data = stored(store, "api-1")
    assert data["title"] == "a\ud800b\0c" and row["title"] == "a?b\0c"


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
    assert beads.ready_ids(store.read, "web", assignee="me") == ["api-mine"]
    assert len(beads.ready_ids(store.read, assignee=None)) == 6


def test_cycles_in_the_data_end(store: Store) -> None:
    add(
        store,
        record("api-1", dependencies=needs("api-2") + needs("api-2", type="parent-child")),
        record("api-2", dependencies=needs("api-1") + needs("api-1", type="parent-child")),
    )
    assert ready(store) == []


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01T00:00:00.123456789Z", 123456),
        ("1969-12-31T16:00:01.5-08:00", 1_500_000),
        ("1970-01-01 00:00:01", 1_000_000),
        ("0001-01-01T00:00:00Z", 0),
        ("yesterday", 0),
        (None, 0),
        (12, 0),
    ],
)
def test_timestamps(text: object, us: int) -> None:
    assert parse_us(text) == us
    assert us == 0 or parse_us(format_us(us)) == us
