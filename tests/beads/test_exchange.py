"""`issues.jsonl` and the database: faithful, merged, and whole after being cut off anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vermas.beads import exchange, jsonl
from vermas.beads.incoming import Report
from vermas.beads.merge import merge
from vermas.store import Store, beads, events, polecats
from vermas.store.timestamps import parse_us

PLAIN = (
    '{"id":"g-1","title":"a \\u003cb\\u003e \\ud800","status":"open","priority":0,"issue_type":"task",'
    '"created_at":"2026-01-05T22:11:03.123456789-08:00","updated_at":"2026-01-05T22:11:03.123456789-08:00","x_new":{"b":[1.0,null],"a":1e3}}'
)
TOMBSTONE = (
    '{"id":"g-2","title":"deleted","status":"tombstone","priority":2,"issue_type":"task","created_at":"2025-12-20T03:25:59.72-08:00",'
    '"updated_at":"2025-12-27T21:29:56.839468-08:00","deleted_at":"2025-12-27T21:29:56.839468-08:00","original_type":"feature"}'
)
HOOKED = (
    '{"id":"g-3","title":"hooked by nobody","status":"hooked","priority":1,"issue_type":"agent","created_at":"2026-01-01T00:00:00Z",'
    '"updated_at":"2026-01-01T00:00:00Z","hook_bead":"g-1","agent_state":"idle"}'
)
CLOSED = (
    '{"id":"g-4","title":"closed without reason","status":"closed","priority":2,"issue_type":"bug","created_at":"2026-01-01T00:00:00Z",'
    '"updated_at":"2026-01-02T00:00:00Z","closed_at":"2026-01-02T00:00:00Z",'
    '"dependencies":[{"issue_id":"g-4","depends_on_id":"external:x:y","type":"blocks","created_at":"2026-01-01T00:00:00Z"}]}'
)
MEMORY = '{"_type":"memory","key":"k","value":"v"}'
LINES = [PLAIN, TOMBSTONE, HOOKED, CLOSED, MEMORY]
TEXT = "".join(f"{line}\n" for line in LINES)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create(tmp_path / "town.db", "abcdefgh")
    yield store
    store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "g" / ".beads" / "issues.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT)
    return path


def sync(store: Store, path: Path) -> Report | None:
    report = exchange.sync(store, "g", str(path))
    before = (path.read_bytes(), os.stat(path).st_mtime_ns)
    assert exchange.sync(store, "g", str(path)) is None
    assert (path.read_bytes(), os.stat(path).st_mtime_ns) == before, "the second pass did something"
    return report


def records(path: Path) -> dict[str, dict[str, Any]]:
    return {record.get("id", "memory"): record for record in map(json.loads, path.read_text().splitlines())}


def edit(path: Path, bead_id: str, **fields: Any) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for record in lines:
        if record.get("id") == bead_id:
            record.update(fields)
    path.write_text("".join(json.dumps(record) + "\n" for record in lines))


def change(store: Store, bead_id: str, **fields: Any) -> None:
    with store.write() as db:
        assert beads.update(db, bead_id, fields)


def test_what_nobody_changed_is_written_back_byte_for_byte(store: Store, path: Path) -> None:
    assert sync(store, path) is not None
    assert path.read_text() == TEXT
    change(store, "g-4", notes="n")
    sync(store, path)
    after = path.read_text().splitlines()
    assert [*after[:3], after[4]] == [*LINES[:3], LINES[4]]
    assert {**json.loads(after[3]), "updated_at": ""} == {**json.loads(LINES[3]), "updated_at": "", "notes": "n"}
    path.unlink()
    sync(store, path)
    assert path.read_text().splitlines() == after


def test_new_beads_join_a_sorted_file_in_order_and_an_unsorted_one_at_the_end(store: Store, path: Path, tmp_path: Path) -> None:
    sync(store, path)
    with store.write() as db:
        beads.insert(db, "g", {"id": "g-10", "title": "new"})
    sync(store, path)
    assert list(records(path)) == ["g-1", "g-10", "g-2", "g-3", "g-4", "memory"]
    other = tmp_path / "other.jsonl"
    other.write_text('{"id":"o-2","title":"x"}\n{"_type":"note"}\n{"id":"o-1","title":"x"}\n')
    exchange.sync(store, "o", str(other))
    with store.write() as db:
        beads.insert(db, "o", {"id": "o-0", "title": "new"})
    exchange.sync(store, "o", str(other))
    assert [json.loads(line).get("id") for line in other.read_text().splitlines()] == ["o-2", None, "o-1", "o-0"]


def test_an_edit_by_hand_is_taken_and_an_untouched_line_keeps_its_time(store: Store, path: Path) -> None:
    sync(store, path)
    edit(path, "g-1", title="edited", x_other=1)
    report = sync(store, path)
    assert report is not None and report.changed == ("g-1",)
    row = beads.alive(store.read, "g-1")
    assert row["title"] == "edited" and json.loads(row["record"])["x_other"] == 1
    assert [event["kind"] for event in events.about(store.read)] == []
    assert [row["kind"] for row in events.since(store.read, 0)] == ["beads-merged", "beads-merged"]


def test_the_human_wins_for_text_and_the_claim_for_status(store: Store, path: Path) -> None:
    sync(store, path)
    with store.write() as db:
        assert beads.claim(db, "g-1", "g/polecats/slot0")
        polecats.insert(db, rig="g", bead_id="g-1", slot="slot0", place="local", agent="script", target="main")
        beads.update(db, "g-1", {"notes": "ours", "title": "ours"})
    edit(path, "g-1", title="theirs", status="closed", closed_at="2030-01-01T00:00:00Z", updated_at="2030-01-01T00:00:00Z")
    report = sync(store, path)
    assert report is not None and report.kept_claims == ("g-1",)
    record = records(path)["g-1"]
    assert (record["title"], record["notes"], record["status"]) == ("theirs", "ours", "hooked")
    assert record["assignee"] == "g/polecats/slot0" and "closed_at" not in record
    assert parse_us(record["updated_at"]) > parse_us("2030-01-01T00:00:00Z")


def test_without_a_claim_the_later_change_of_status_wins(store: Store, path: Path) -> None:
    sync(store, path)
    with store.write() as db:
        beads.set_status(db, "g-1", "blocked")
    edit(path, "g-1", status="closed", updated_at="2030-01-01T00:00:00Z")
    edit(path, "g-3", status="open")
    sync(store, path)
    found = records(path)
    assert found["g-1"]["status"] == "closed" and found["g-1"]["closed_at"]
    assert found["g-3"]["status"] == "open"


def test_both_sides_add_labels_and_dependencies(store: Store, path: Path) -> None:
    sync(store, path)
    change(store, "g-4", labels=["ours"], dependencies=[{"depends_on_id": "external:x:y", "type": "blocks"}, {"depends_on_id": "g-1"}])
    edit(path, "g-4", labels=["theirs"], dependencies=[{"depends_on_id": "g-3"}])
    sync(store, path)
    record = records(path)["g-4"]
    assert record["labels"] == ["theirs", "ours"]
    assert [item["depends_on_id"] for item in record["dependencies"]] == ["g-3", "g-1"]


def test_an_older_copy_of_the_file_changes_nothing(store: Store, path: Path) -> None:
    sync(store, path)
    change(store, "g-1", title="newer")
    sync(store, path)
    path.write_text(TEXT)
    sync(store, path)
    assert records(path)["g-1"]["title"] == "newer"


def test_lines_that_vanish_come_back_and_tombstones_stay(store: Store, path: Path) -> None:
    sync(store, path)
    path.write_text(LINES[0] + "\n")
    sync(store, path)
    assert set(records(path)) >= {"g-1", "g-2", "g-3", "g-4"}
    edit(path, "g-2", status="open", updated_at="2031-01-01T00:00:00Z")
    edit(path, "g-4", status="tombstone", deleted_at="2999-01-01T00:00:00Z", updated_at="2031-01-01T00:00:00Z")
    sync(store, path)
    assert {records(path)[name]["status"] for name in ("g-2", "g-4")} == {"tombstone"}
    assert sorted(beads.ids(store.read)) == ["g-1", "g-3"]


def test_an_edited_memory_replaces_the_old_one(store: Store, path: Path) -> None:
    sync(store, path)
    path.write_text(TEXT.replace('"value":"v"', '"value":"w"'))
    sync(store, path)
    change(store, "g-1", title="x")
    sync(store, path)
    assert path.read_text().splitlines()[-1] == LINES[4].replace('"v"}', '"w"}') and len(records(path)) == 5


def test_a_memory_removed_from_a_sound_file_is_gone_and_from_a_damaged_one_it_is_kept(store: Store, path: Path) -> None:
    sync(store, path)
    path.write_text("".join(f"{line}\n" for line in LINES[:4]) + "{torn")
    sync(store, path)
    change(store, "g-1", title="x")
    sync(store, path)
    assert "memory" in records(path)
    path.write_text(path.read_text().replace(MEMORY + "\n", ""))
    sync(store, path)
    change(store, "g-1", title="y")
    sync(store, path)
    assert "memory" not in records(path) and len(records(path)) == 4


def test_an_edit_that_comes_between_reading_and_writing_is_not_overwritten(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(store, path)
    change(store, "g-1", title="ours")
    edits = iter([True])

    def digest(data: bytes) -> str:
        if next(edits, False):
            edit(path, "g-4", title="theirs")
        return jsonl.digest(data)

    monkeypatch.setattr("vermas.beads.exchange.digest", digest)
    exchange.sync(store, "g", str(path))
    found = records(path)
    assert (found["g-1"]["title"], found["g-4"]["title"]) == ("ours", "theirs")
    assert beads.alive(store.read, "g-4")["title"] == "theirs"


def test_a_conflicted_file_loads_and_its_markers_are_kept_aside(store: Store, path: Path) -> None:
    sync(store, path)
    theirs = LINES[0].replace("a \\u003c", "b \\u003c").replace("2026-01-05T22", "2026-01-06T22")
    path.write_text(f"<<<<<<< HEAD\n{LINES[0]}\n=======\n{theirs}\n>>>>>>> other\n" + "\n".join(LINES[1:]) + '\n{"id":"g-9","ti')
    report = exchange.sync(store, "g", str(path))
    assert report is not None
    assert [line.number for line in report.rejected] == [1, 2, 3, 5, 10]
    assert beads.alive(store.read, "g-1")["title"].startswith("b <")
    assert b'{"id":"g-9","ti\n' in Path(report.quarantine).read_bytes()


@pytest.mark.parametrize("cut", ["before the write", "after the write", "after another change"])
def test_cut_off_while_writing(store: Store, path: Path, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(store, path)
    change(store, "g-1", title="one")

    class Killed(BaseException):
        pass

    real = exchange._write

    def write(target: str, data: bytes) -> None:
        if cut != "before the write":
            real(target, data)
        raise Killed

    monkeypatch.setattr(exchange, "_write", write)
    with pytest.raises(Killed):
        exchange.sync(store, "g", str(path))
    monkeypatch.undo()
    if cut == "after another change":
        change(store, "g-1", title="two")
    assert sync(store, path) is None, "its own writing was taken for somebody's edit"
    assert records(path)["g-1"]["title"] == ("two" if cut == "after another change" else "one")
    assert not beads.behind(store.read, "g")


def test_a_change_during_the_write_is_still_ahead_of_the_file(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(store, path)
    change(store, "g-1", title="one")
    real = exchange._write

    def write(target: str, data: bytes) -> None:
        real(target, data)
        monkeypatch.undo()
        change(store, "g-1", title="two")

    monkeypatch.setattr(exchange, "_write", write)
    exchange.sync(store, "g", str(path))
    assert records(path)["g-1"]["title"] == "one" or not beads.behind(store.read, "g")
    edit(path, "g-1", notes="theirs")
    sync(store, path)
    assert (records(path)["g-1"]["title"], records(path)["g-1"]["notes"]) == ("two", "theirs")


def test_the_file_keeps_its_mode_and_a_link_stays_a_link(store: Store, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    path.chmod(0o644)
    exchange.sync(store, "g", str(link))
    change(store, "g-1", title="x")
    exchange.sync(store, "g", str(link))
    assert link.is_symlink() and os.stat(path).st_mode & 0o777 == 0o644
    assert records(path)["g-1"]["title"] == "x"


def test_importing_twice_changes_nothing_the_second_time(store: Store, path: Path) -> None:
    first = exchange.import_file(store, "g", str(path))
    assert len(first.inserted) == 4 and first.rejected == ()
    exchange.sync(store, "g", str(path.with_name("own.jsonl")))
    second = exchange.import_file(store, "g", str(path))
    assert not beads.behind(store.read, "g")
    assert (second.inserted, second.changed, second.unchanged) == ((), (), 5)
    elsewhere = exchange.import_file(store, "other", str(path))
    assert elsewhere.elsewhere == ("g-1", "g-2", "g-3", "g-4")
    assert path.read_text() == TEXT


def test_an_import_brings_newer_records_only(store: Store, path: Path) -> None:
    exchange.import_file(store, "g", str(path))
    edit(path, "g-3", title="older", updated_at="2020-01-01T00:00:00Z")
    edit(path, "g-4", title="newer", updated_at="2031-01-01T00:00:00Z")
    assert exchange.import_file(store, "g", str(path)).changed == ("g-4",)
    assert beads.alive(store.read, "g-3")["title"] == "hooked by nobody"


def test_nothing_is_made_for_a_rig_without_beads(store: Store, tmp_path: Path) -> None:
    assert exchange.sync(store, "empty", str(tmp_path / "empty" / ".beads" / "issues.jsonl")) is None
    assert not (tmp_path / "empty").exists()


# --- properties

_text = st.text(st.characters(), max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_moments = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00.123456789-08:00", "2026-01-03T00:00:00Z", "never", ""])
_record = st.builds(
    lambda known, unknown: {**{f"x{name}": value for name, value in unknown.items()}, **known},
    st.fixed_dictionaries(
        {"id": st.just("g-1"), "title": _text, "updated_at": _moments},
        optional={
            "status": st.sampled_from(["open", "closed", "hooked", "OPEN", "odd"]) | _json,
            "priority": _json,
            "issue_type": _json,
            "assignee": _json,
            "labels": _json,
            "dependencies": _json,
            "defer_until": _json,
            "pinned": _json,
        },
    ),
    st.dictionaries(_text, _json, max_size=3),
)
_settings = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_settings
@given(record=_record, ascii_only=st.booleans())
def test_any_record_survives_the_round_trip(tmp_path: Path, record: dict[str, Any], ascii_only: bool) -> None:
    try:
        line = json.dumps(record, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        line = json.dumps(record).encode()
    path = tmp_path / "issues.jsonl"
    path.write_bytes(line + b"\n")
    store = Store(tmp_path / "round.db") if (tmp_path / "round.db").exists() else Store.create(tmp_path / "round.db", "abcdefgh")
    with store.write() as db:
        db.execute("DELETE FROM beads")
        db.execute("DELETE FROM bead_files")
    report = exchange.sync(store, "g", str(path))
    if str(record.get("status")).strip().lower() != "tombstone":
        assert report is not None and report.inserted == ("g-1",)
        change(store, "g-1", x_mark="marked")
    exchange.sync(store, "g", str(path))
    after = json.loads(path.read_bytes())
    changed = {"updated_at", "x_mark"}
    assert {name: after[name] for name in after.keys() - changed} == {name: record[name] for name in record.keys() - changed}
    store.close()


@_settings
@given(ours=_record, theirs=_record, base=st.none() | _record, claimed=st.booleans())
def test_a_merge_settles_at_once(ours: dict[str, Any], theirs: dict[str, Any], base: dict[str, Any] | None, claimed: bool) -> None:
    merged = merge(ours, theirs, base, claimed=claimed)
    assert merge(merged, merged, theirs, claimed=claimed) == merged
    if claimed:
        assert merged.get("status") == ours.get("status") and merged.get("assignee") == ours.get("assignee")


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60), place=st.integers(0, len(TEXT)), length=st.integers(0, 40))
def test_no_mutilation_raises_and_untouched_lines_load(data: bytes, place: int, length: int) -> None:
    raw = TEXT.encode()
    document = jsonl.parse(raw[:place] + data + raw[place + length :])
    first = raw.index(b"\n")
    if place > first:
        assert document.lines[0].id == "g-1" or "g-1" in {line.id for line in document.lines}
    assert sum(len(each) for each in (document.lines, document.rejected)) <= raw.count(b"\n") + data.count(b"\n") + 1
