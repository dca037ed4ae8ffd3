"""Beads in the database: claims, invariants of status, and records kept in step."""

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
    assert beads.ids(store.read) == ["api-abc"]


def test_a_row_that_changed_meanwhile_is_left_alone(store: Store) -> None:
    add(store, record("api-1"))
    stale = beads.alive(store.read, "api-1")
    with store.write() as db:
        beads.update(db, "api-1", {"title": "newer"})
        assert not beads.replace(db, stale, {"id": "api-1", "title": "stale"}, seq=beads.touch(db, "api"))
    assert stored(store, "api-1")[0]["title"] == "newer"


def test_an_id_exists_once_in_a_town(store: Store) -> None:
    add(store, record("api-1"))
    with pytest.raises(Conflict, match="api-1"):
        add(store, record("api-1"), rig="web")


def test_removing_a_field_and_setting_none_that_is_absent(store: Store) -> None:
    add(store, record("api-1", notes="x", dependencies=[{"depends_on_id": "api-2"}]))
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
