"""`vermas bead`, typed."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vermas.store import Store, beads, events, polecats
from vermas.town import Town

Vermas = Callable[..., Any]
TWO = '[town]\nname = "hq"\n[rigs.api]\norigin = "/a"\n[rigs.web]\norigin = "/w"\n'


@pytest.fixture(autouse=True)
def one_rig(town: Town) -> None:
    Path(town.config_file).write_text('[town]\nname = "hq"\n[rigs.api]\norigin = "/a"\n')


@pytest.fixture
def two_rigs(town: Town, one_rig: None) -> None:
    Path(town.config_file).write_text(TWO)


def create(vermas: Vermas, *words: str) -> str:
    bead_id: str = vermas("bead", "create", *words, "--json").json["id"]
    return bead_id


def ids(vermas: Vermas, *words: str) -> list[str]:
    return [each["id"] for each in vermas("bead", *words, "--json").json]


def kinds(town: Town) -> list[str]:
    return [row["kind"] for row in events.since(Store(town.db).read, 0)]


def lines(town: Town, rig: str = "api") -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in map(json.loads, Path(town.issues(rig)).read_text().splitlines())}


def at_work(town: Town, bead_id: str) -> None:
    with Store(town.db).write() as db:
        assert beads.claim(db, bead_id, "api/polecats/slot0")
        polecats.insert(db, rig="api", bead_id=bead_id, slot="slot0", place="local", agent="script", target="main")


def test_a_bead_from_creation_to_its_end(vermas: Vermas, town: Town) -> None:
    made = vermas(
        "bead", "create", "Fix it", "-d", "text", "--type", "bug", "--priority", "P0", "-l", "x", "--acceptance", "green", "--json"
    ).json
    assert made["id"].startswith("api-") and made["priority"] == 0 and made["issue_type"] == "bug" and made["rig"] == "api"
    bead_id = made["id"]
    assert lines(town)[bead_id]["description"] == "text"
    assert list(lines(town)[bead_id])[:4] == ["id", "title", "description", "acceptance_criteria"]
    assert ids(vermas, "ready") == [bead_id] == ids(vermas, "list")
    vermas(
        "bead",
        "update",
        bead_id,
        "--title",
        "Fix that",
        "--status",
        "in-progress",
        "--add-label",
        "y",
        "--remove-label",
        "x",
        "--notes",
        "n",
    )
    shown = vermas("bead", "show", bead_id, "--json").json
    assert (shown["title"], shown["status"], shown["labels"], shown["notes"]) == ("Fix that", "in_progress", ["y"], "n")
    assert shown["waiting"] == ["it is in_progress"] and shown["started_at"]
    vermas("bead", "close", bead_id, "--reason", "done")
    assert ids(vermas, "list") == [] and ids(vermas, "list", "--all") == [bead_id]
    assert lines(town)[bead_id]["close_reason"] == "done"
    assert "closed already" in vermas("bead", "close", bead_id, expect=8).err
    vermas("bead", "reopen", bead_id)
    assert "closed_at" not in lines(town)[bead_id]
    assert "not closed" in vermas("bead", "reopen", bead_id, expect=8).err
    assert kinds(town) == ["bead-created", "bead-updated", "bead-closed", "bead-reopened"]


def test_nothing_happens_twice(vermas: Vermas, town: Town) -> None:
    bead_id = create(vermas, "One")
    before = lines(town)
    assert "is so already" in vermas("bead", "update", bead_id, "--title", "One", "--status", "open").out
    assert lines(town) == before and kinds(town) == ["bead-created"]
    assert "nothing to change" in vermas("bead", "update", bead_id, expect=2).err


def test_dependencies(vermas: Vermas) -> None:
    one, two = create(vermas, "One"), create(vermas, "Two")
    three = create(vermas, "Three", "--dep", one, "--dep", f"related:{two}")
    assert ids(vermas, "ready") == [one, two]
    vermas("bead", "dep", "add", two, one)
    assert f"blocked by {one}, which is open" in vermas("bead", "show", two).out
    error = vermas("bead", "dep", "add", one, three, expect=8).err
    assert f"{one} -> {three} -> {one}" in error
    assert "itself" in vermas("bead", "dep", "add", one, one, expect=8).err
    assert "already" in vermas("bead", "dep", "add", two, one).out
    vermas("bead", "dep", "add", one, three, "--type", "related")
    vermas("bead", "close", one)
    assert ids(vermas, "ready") == [two, three]
    vermas("bead", "dep", "remove", two, one)
    assert "depends on nothing" in vermas("bead", "dep", "remove", two, one, expect=4).err
    assert vermas("bead", "show", two, "--json").json["depends_on"] == []


def test_children(vermas: Vermas, two_rigs: None) -> None:
    epic = create(vermas, "Epic", "--type", "epic", "--rig", "api")
    assert [create(vermas, "Child", "--parent", epic) for _ in range(2)] == [f"{epic}.1", f"{epic}.2"]
    assert "belongs to rig api" in vermas("bead", "create", "x", "--parent", epic, "--rig", "web", expect=2).err
    blocker = create(vermas, "First", "--rig", "web")
    vermas("bead", "dep", "add", epic, blocker)
    assert f"its parent {epic}: blocked by {blocker}" in vermas("bead", "show", f"{epic}.1").out
    assert ids(vermas, "ready") == [blocker] == ids(vermas, "ready", "--rig", "web")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", ""], 2, "a bead needs a title"),
        (["create", " \n"], 2, "a bead needs a title"),
        (["create", "x" * 501], 2, "at most 500 characters, this one has 501"),
        (["create", "x", "--type", "buk"], 2, "did you mean 'bug'"),
        (["create", "x", "--priority", "5"], 2, "P0 to P4"),
        (["create", "x", "--priority", "urgent"], 2, "P0 to P4"),
        (["create", "x", "--dep", "api-none"], 4, "no bead named 'api-none'"),
        (["create", "x", "--parent", "api-none"], 4, "no bead named"),
        (["create", "x", "--rig", "apj"], 4, "did you mean 'api'"),
        (["create", "x\udcff"], 2, "not UTF-8"),
        (["show", "api-zzz"], 4, "no bead named 'api-zzz'"),
        (["close", "api-zzz"], 4, "no bead named"),
        (["update", "api-zzz", "--title", "x"], 4, "no bead named"),
        (["dep", "add", "api-zzz", "api-yyy"], 4, "no bead named"),
        (["list", "--rig", "nope"], 4, "no rig named"),
        (["ready", "--limit", "0"], 2, "--limit"),
        (["ready", "--sort", "new"], 2, "--sort"),
        (["import", "missing.jsonl"], 1, "cannot read missing.jsonl: No such file"),
        (["import", "."], 1, "cannot read .: Is a directory"),
        (["export", "."], 1, "it is a directory"),
        (["export", "missing/file"], 1, "cannot write"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(vermas: Vermas, town: Town, words: list[str], code: int, said: str) -> None:
    ended = vermas("bead", *words, expect=code)
    assert said in ended.err and "Traceback" not in ended.err
    if code != 2 or "Usage" not in ended.err:
        assert ended.err.count("\n") == 1
    assert kinds(town) == [] and not os.path.exists(town.issues("api"))


def test_a_misspelt_id_is_told_the_nearest(vermas: Vermas) -> None:
    bead_id = create(vermas, "x")
    assert f"did you mean '{bead_id}'" in vermas("bead", "show", bead_id + "x", expect=4).err
    for option, value in (("--status", "clsed"), ("--status", "hooked"), ("--type", "bgu"), ("--priority", "9"), ("--defer-until", "soon")):
        assert vermas("bead", "update", bead_id, option, value, expect=2).err.count("\n") == 1


def test_several_rigs_need_a_name_unless_a_session_has_one(vermas: Vermas, two_rigs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "say which rig with --rig: api, web" in vermas("bead", "create", "x", expect=2).err
    monkeypatch.setenv("VERMAS_RIG", "web")
    assert create(vermas, "x").startswith("web-")


def test_a_town_without_rigs_says_so(vermas: Vermas, town: Town) -> None:
    Path(town.config_file).write_text('[town]\nname = "hq"\n')
    assert "vermas rig add" in vermas("bead", "create", "x", expect=2).err
    assert "no beads" in vermas("bead", "list").out


def test_descriptions_of_a_megabyte_and_from_standard_input(vermas: Vermas, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "ü\0\x1b[31m" * 150_000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    bead_id = create(vermas, "x", "-d", "-")
    assert vermas("bead", "show", bead_id, "--json").json["description"] == text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert "not UTF-8 at byte 1" in vermas("bead", "update", bead_id, "-d", "-", expect=2).err


def test_hostile_text_is_kept_and_shown_harmless(vermas: Vermas) -> None:
    title = "\x1b]0;x\x07 $(rm -rf ~) [red]#{pane_id}#(id) \u202e \u200b\r"
    bead_id = create(vermas, title, "-d", title + "\n--", "--assignee", title)
    assert vermas("bead", "show", bead_id, "--json").json["title"] == title
    for words in (
        ["show", bead_id],
        ["list"],
        ["ready", "--anyone"],
        ["update", bead_id, "--notes", title],
        ["dep", "add", bead_id, "external:" + title],
    ):
        out = vermas("bead", *words).out
        assert not set("\x1b\x07\u202e\u200b\r") & set(out)
    assert "$(rm -rf ~) [red]#{pane_id}#(id)" in vermas("bead", "list").out


def test_a_bead_at_work_is_not_moved_without_force(vermas: Vermas, town: Town) -> None:
    bead_id = create(vermas, "x")
    at_work(town, bead_id)
    for words in (["close", bead_id], ["update", bead_id, "--status", "open"], ["update", bead_id, "--assignee", ""]):
        assert "p1 works on" in vermas("bead", *words, expect=8).err
    vermas("bead", "update", bead_id, "--title", "y")
    assert lines(town)[bead_id]["status"] == "hooked"
    vermas("bead", "close", bead_id, "--force")
    assert lines(town)[bead_id]["status"] == "closed"


def test_closing_several_is_all_or_none(vermas: Vermas) -> None:
    one, two = create(vermas, "1"), create(vermas, "2")
    vermas("bead", "close", one, "api-nope", two, expect=4)
    assert ids(vermas, "list") == [one, two]
    assert "closed" in vermas("bead", "close", one, two, one).out


def test_defer_and_filters(vermas: Vermas) -> None:
    later = create(vermas, "later")
    vermas("bead", "update", later, "--defer-until", "2999-01-01")
    mine = create(vermas, "mine", "--assignee", "me", "-l", "a", "-l", "b")
    assert ids(vermas, "ready") == [] and "nothing is ready" in vermas("bead", "ready").out
    assert ids(vermas, "ready", "--assignee", "me") == [mine] == ids(vermas, "ready", "--anyone", "--label", "a", "--label", "b")
    assert (
        ids(vermas, "list", "--assignee", "me")
        == [mine]
        == ids(vermas, "list", "--label", "b")
        == ids(vermas, "list", "--type", "task", "--label", "a")
    )
    vermas("bead", "update", later, "--defer-until", "")
    assert ids(vermas, "ready", "--limit", "1") == [later]


def test_import_takes_what_is_usable_and_names_the_rest(vermas: Vermas, town: Town, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    good = '{"id":"x-1","title":"one","status":"closed","x_unknown":[1.5,{"k":null}],"closed_at":"2026-01-05T22:11:03.123456789-08:00"}'
    file.write_bytes(
        f"<<<<<<< HEAD\n{good}\n=======\n>>>>>>> b\n".encode()
        + b'{"id":"x-2","title":"\xff"}\n{"id":"x-3","title":"three"}\n{"id":"x-4","ti'
    )
    ended = vermas("bead", "import", str(file), "--rig", "api", "--json")
    assert (ended.json["inserted"], ended.json["rejected"]) == (2, 5)
    for expected in ("in.jsonl:1: a git conflict marker", "in.jsonl:5: not UTF-8", "in.jsonl:7: torn", f"kept in {file}.quarantine"):
        assert expected in ended.err
    assert Path(town.issues("api")).read_text().splitlines() == [good, '{"id":"x-3","title":"three"}']
    out = tmp_path / "out.jsonl"
    vermas("bead", "export", str(out), "--rig", "api")
    assert out.read_bytes() == Path(town.issues("api")).read_bytes() == vermas("bead", "export", "-").out.encode()
    again = vermas("bead", "import", str(out)).out
    assert again == "api: 2 unchanged\n"


def test_import_of_nothing_usable_fails(vermas: Vermas, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("garbage\n")
    assert "in.jsonl:1: not JSON" in vermas("bead", "import", str(file), expect=1).err
    file.write_text("")
    assert "the file is empty" in vermas("bead", "import", str(file)).out


def test_import_warns_of_cycles(vermas: Vermas, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    records = [{"id": f"x-{n}", "title": "t", "dependencies": [{"depends_on_id": f"x-{(n + 1) % 3}", "type": "blocks"}]} for n in range(3)]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "x-0 -> x-1 -> x-2 -> x-0" in vermas("bead", "import", str(file)).err
    assert ids(vermas, "ready") == []


def test_tombstones_are_kept_and_never_seen(vermas: Vermas, town: Town, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    line = '{"id":"x-1","title":"gone","status":"tombstone","deleted_at":"2025-12-27T21:29:56.839468-08:00"}'
    file.write_text(line + "\n")
    vermas("bead", "import", str(file))
    assert ids(vermas, "list", "--all") == ids(vermas, "ready") == ids(vermas, "list", "--status", "tombstone") == []
    for words in (
        ["show", "x-1"],
        ["close", "x-1"],
        ["reopen", "x-1"],
        ["update", "x-1", "--status", "open"],
        ["dep", "add", "x-1", "x-1"],
    ):
        assert "it was deleted" in vermas("bead", *words, expect=4).err
    create(vermas, "x")
    assert line in Path(town.issues("api")).read_text().splitlines()


def test_an_edit_of_the_rigs_file_is_seen_by_the_next_verb(vermas: Vermas, town: Town) -> None:
    bead_id = create(vermas, "old title")
    file = Path(town.issues("api"))
    file.write_text(file.read_text().replace("old title", "new title") + '{"id":"api-new","title":"from an editor"}\n{torn')
    ended = vermas("bead", "list", "--json")
    assert sorted(each["title"] for each in ended.json) == ["from an editor", "new title"]
    assert "issues.jsonl:3: torn" in ended.err
    assert vermas("bead", "show", bead_id).err == ""


def test_with_a_reconciler_awake_the_file_is_its_business(vermas: Vermas, town: Town) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        listener.bind(town.poke_socket("api"))
        create(vermas, "x")
        assert listener.recv(16) == b"poke"
        assert not os.path.exists(town.issues("api"))
    finally:
        listener.close()
    vermas("bead", "export")
    assert len(lines(town)) == 1


def test_a_file_that_cannot_be_written_is_a_warning(vermas: Vermas, town: Town) -> None:
    Path(town.rig_dir("api")).write_text("in the way")
    made = vermas("bead", "create", "x", "--json")
    assert made.json["id"] and "warning" in made.err and made.err.count("\n") == 1


def test_ids_grow_with_the_rig_and_never_repeat(vermas: Vermas, town: Town) -> None:
    with Store(town.db).write() as db:
        for n in range(200):
            beads.insert(db, "api", {"id": f"api-{n}", "title": "t"})
    assert len(create(vermas, "x").removeprefix("api-")) == 4
