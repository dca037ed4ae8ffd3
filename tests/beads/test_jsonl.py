"""Files of issues in every condition: what is usable is used, the rest is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vermas.beads import jsonl
from vermas.errors import VermasError


def line(bead_id: str, **fields: object) -> bytes:
    return json.dumps({"id": bead_id, "title": "t", **fields}).encode()


def outcome(data: bytes) -> tuple[list[str], list[tuple[int, str]]]:
    document = jsonl.parse(data)
    return [each.id for each in document.lines], [(each.number, each.reason) for each in document.rejected]


GOOD = line("a-1") + b"\n"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"garbage", "not JSON"),
        (b"{'id': 'a-2'}", "not JSON"),
        (b'{"id":"a-2","title":"\xff"}', "not UTF-8 at byte 22"),
        (b"<<<<<<< HEAD", "conflict marker"),
        (b"=======", "conflict marker"),
        (b">>>>>>> theirs", "conflict marker"),
        (b"||||||| base", "conflict marker"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"title":"x"}', "no id"),
        (b'{"id":""}', "no id"),
        (b'{"id":12}', "unusable id 12"),
        (b'{"id":"../../etc"}', "unusable id"),
        (b'{"id":"a b"}', "unusable id"),
        (b'{"id":"a-2\\n"}', "unusable id"),
        (b'{"id":"' + b"a" * 300 + b'"}', "unusable id"),
        (b'{"id":"a-2","x":NaN}', "NaN is not JSON"),
        (b'{"id":"a-2","x":1e999}', "too large"),
        (b'{"id":"a-2","x":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"id":"a-2","x":' + b"[" * 100_000, "nested too deeply"),
        (b'{"id":"a-2","title":"a\x00b"}', "not JSON"),
        (b'{"id":"a-2"}{"id":"a-3"}', "not JSON"),
    ],
)
def test_a_bad_line_is_named_and_the_others_load(bad: bytes, reason: str) -> None:
    ids, rejected = outcome(GOOD + bad + b"\n" + line("a-9") + b"\n")
    assert ids == ["a-1", "a-9"]
    assert [number for number, _ in rejected] == [2] and reason in rejected[0][1]


def test_line_endings_blank_lines_nul_runs_and_a_byte_order_mark() -> None:
    data = b"\xef\xbb\xbf" + line("a-1") + b"\r\n\r\n\n" + b"\0" * 4096 + line("a-2") + b"\0\0\n   " + line("a-3") + b"  "
    assert outcome(data) == (["a-1", "a-2", "a-3"], [])
    assert jsonl.parse(data).text(jsonl.parse(data).lines[1]) == line("a-2").decode()


def test_only_newlines_end_a_line() -> None:
    data = '{"id":"a-1","title":"x\u2028y\u0085z"}\n'.encode()
    assert outcome(data) == (["a-1"], [])


def test_every_cut_of_the_last_line_keeps_the_lines_before() -> None:
    whole = GOOD + line("a-2", title="über \U0001f431")
    for cut in range(len(GOOD), len(whole)):
        ids, rejected = outcome(whole[:cut])
        assert ids == ["a-1"]
        assert all(number == 2 for number, _ in rejected)
        assert len(rejected) == (cut > len(GOOD))
    assert outcome(whole) == (["a-1", "a-2"], [])


def test_of_two_lines_with_one_id_the_newer_is_used_and_of_equal_ones_the_last() -> None:
    old, new = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+00:30"
    data = b"\n".join([line("a-1", updated_at=new), line("a-1", updated_at=old), line("a-2"), line("a-2", x=1)])
    document = jsonl.parse(data)
    assert [(each.id, each.number) for each in document.lines] == [("a-1", 1), ("a-2", 4)]
    assert [each.number for each in document.rejected] == [2, 3]
    assert "line 4" in document.rejected[1].reason


def test_other_kinds_of_records_are_kept_as_they_are() -> None:
    memory = b'{"_type":"memory","key":"k","value":"\\u003cv\\u003e"}'
    document = jsonl.parse(memory + b"\n" + line("a-1", _type="issue") + b"\n")
    assert [each.id for each in document.lines] == ["", "a-1"]
    assert document.text(document.lines[0]) == memory.decode()


def test_long_lines_are_read_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(line("a-1", description="x" * 2_000_000)) == (["a-1"], [])
    monkeypatch.setattr(jsonl, "LINE_BYTES", 1024 * 1024)
    ids, rejected = outcome(line("a-1", description="x" * 2_000_000) + b"\n" + line("a-2"))
    assert ids == ["a-2"] and rejected == [(1, "longer than 1 MiB")]


def test_the_order_of_ids_is_noticed() -> None:
    assert jsonl.parse(line("a-1") + b"\n" + line("a-2")).by_id
    assert not jsonl.parse(line("a-2") + b"\n" + line("a-1")).by_id


def test_rejected_lines_are_kept_once_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "issues.jsonl"
    document = jsonl.parse(b"<<<<<<< HEAD\n" + GOOD + b"\xff\r\n")
    for _ in range(2):
        assert jsonl.quarantine(str(path), document) == f"{path}.quarantine"
    kept = Path(f"{path}.quarantine").read_bytes().split(b"\n")
    assert kept == [b"# issues.jsonl:1: a git conflict marker", b"<<<<<<< HEAD", b"# issues.jsonl:3: not UTF-8 at byte 1", b"\xff", b""]


@pytest.mark.parametrize("name", ["missing", ".", "nul\0"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(VermasError, match="cannot read"):
        jsonl.read(f"{tmp_path}/{name}")
