"""Ids are short, free and grow with the rig."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vermas.beads import ids
from vermas.beads.record import usable_id
from vermas.errors import ConfigError
from vermas.store import Store, beads


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create(tmp_path / "town.db", "abcdefgh")
    yield store
    store.close()


def add(store: Store, *names: str, status: str = "open") -> None:
    with store.write() as db:
        for name in names:
            beads.insert(db, "g", {"id": name, "title": "t", "status": status})


@pytest.mark.parametrize(("count", "length"), [(0, 3), (160, 3), (200, 4), (1_000, 5), (5_000, 5), (6_000, 6), (100_000, 7), (10**9, 8)])
def test_the_length_follows_the_number_of_beads(count: int, length: int) -> None:
    assert ids.id_length(count) == length


def test_a_taken_id_is_not_given_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, "g-000", status="tombstone")
    random = iter(["000", "000", "zzz"])
    monkeypatch.setattr(ids, "_random", lambda length: next(random))
    assert ids.new_id(store.read, "g") == "g-zzz"


def test_a_crowded_length_gives_way_to_the_next(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, "g-000")
    monkeypatch.setattr(ids, "_random", lambda length: "0" * length)
    assert ids.new_id(store.read, "g") == "g-0000"


def test_ids_are_base_36_behind_the_prefix(store: Store) -> None:
    made = {ids.new_id(store.read, "my-rig") for _ in range(50)}
    assert len(made) > 40 and all(usable_id(name) and name.startswith("my-rig-") and len(name) == 10 for name in made)


@pytest.mark.parametrize("prefix", ["", "A", "1", "a_b", "a/b", "../x", "a" * 30])
def test_a_wrong_prefix_is_an_error_of_the_configuration(store: Store, prefix: str) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        ids.new_id(store.read, prefix)


def test_children_count_up_past_deleted_and_nested_ones(store: Store) -> None:
    add(store, "g-1", "g-1.2", "g-1.2.9", "g-1.x", "g-10.7")
    add(store, "g-1.4", status="tombstone")
    assert ids.child_id(store.read, "g-1") == "g-1.5"
    assert ids.child_id(store.read, "g-1.2") == "g-1.2.10"
    assert ids.child_id(store.read, "g-1.x") == "g-1.x.1"
