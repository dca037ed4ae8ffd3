"""Wrong names, wrong files, wrong machines: an exit code, one line that says what, where and what to do, and nothing done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vermas.lifecycle import advance
from vermas.testing.town import git

from .conftest import Desk, Fleet

Log = Callable[[Path], list[str]]

#: Names that nothing has, some of which would do harm where they were taken for a path, an option, a format or a command.
NAMES = (
    "nosuch",
    "../../etc",
    "a b",
    "a\x1b[2J\x07\nb\u202egnp\u200b",
    "x" * 300,
    "",
    "$(touch canary)`touch canary`;touch canary #(touch canary)#{pane_id}",
    "a\udcff",
)
#: Every verb that takes a name. `@` is the name.
VERBS = (
    ["run", "@"],
    ["run", "--bead", "@"],
    ["run", "-p", "@"],
    ["run", "-p", "no:@", "--dry-run", "@"],
    ["sling", "@"],
    ["sling", "{bead}", "-p", "@"],
    ["why", "@"],
    *(["polecat", verb, "@"] for verb in ("show", "attach", "read", "stop", "restart", "nuke")),
    ["polecat", "nuke", "--force", "@"],
    ["polecat", "destroy", "--yes-destroy-work", "@"],
    ["polecat", "send", "@", "hello"],
    ["polecat", "list", "--rig", "@"],
    *(["bead", verb, "@"] for verb in ("show", "close", "reopen")),
    ["bead", "update", "@", "--title", "x"],
    ["bead", "dep", "add", "{bead}", "@"],
    ["bead", "dep", "remove", "@", "{bead}"],
    ["bead", "create", "x", "--rig", "@"],
    ["bead", "create", "x", "--dep", "@"],
    ["bead", "create", "x", "--parent", "@"],
    ["bead", "create", "x", "--type", "@"],
    ["bead", "create", "x", "--priority", "@"],
    *(["bead", verb, "--rig", "@"] for verb in ("list", "ready")),
    ["bead", "import", "{file}", "--rig", "@"],
    ["bead", "export", "{file}", "--rig", "@"],
    *(["rig", verb, "@"] for verb in ("show", "remove")),
    ["rig", "add", "@", "{origin}"],
    ["rig", "add", "new", "{origin}", "--plugins", "@"],
    ["rig", "add", "new", "{origin}", "--target", "@"],
    ["rig", "add", "new", "@"],
    ["rig", "add", "new", "{origin}", "--prefix", "@/"],
    ["plugins", "--rig", "@"],
    ["plugins", "--hook", "@"],
    ["log", "--rig", "@"],
    *(["config", verb, "rigs.@.check"] for verb in ("get", "explain")),
    ["config", "set", "rigs.@.check", "true"],
    ["config", "set", "rigs.app.@", "true"],
    ["plugin", "new", "@/", "--kind", "runtime"],
    ["@"],
    ["--@"],
)


def everything(root: Path) -> set[str]:
    """All paths below, without the files that SQLite and locks come and go with."""
    return {str(path) for path in root.rglob("*") if not path.name.startswith("town.db") and path.suffix != ".lock"}


def test_names_that_nothing_has(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"origin": str(desk.rig()), "bead": desk.bead("One"), "file": str(tmp_path / "file.jsonl")}
    Path(places["file"]).touch()
    monkeypatch.chdir(tmp_path)
    before, events = everything(tmp_path), desk.query("SELECT max(seq) FROM events")
    for name in NAMES:
        for words in VERBS:
            if (name, words[0], words[-2:]) == ("nosuch", "rig", ["@", "{origin}"]) or (
                not name and words[-2:-1] in (["--rig"], ["--type"])
            ):
                continue  # a good name for a new rig; as if the option were left out
            typed = [places.get(word.strip("{}"), word).replace("@", name) for word in words]
            done = desk.vermas(*typed, expect=None)
            assert done.returncode in (2, 3, 4, 5, 6) and done.stdout == "", (typed, done)
            assert all(char == "\n" or char.isprintable() for char in done.stderr), (typed, done.stderr)
            assert done.stderr.count("\n") == 1 or done.stderr.startswith("Usage: "), (typed, done.stderr)
            assert len(done.stderr) < 900, (typed, done.stderr)
        assert everything(tmp_path) == before and desk.query("SELECT max(seq) FROM events") == events, name


def one_line(desk: Fleet, *words: str, expect: int) -> str:
    """The one line of a command that fails."""
    done = desk.vermas(*words, expect=expect)
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("vermas: "), done.stderr
    return done.stderr


def test_a_wrong_configuration_is_named_by_every_verb_that_reads_it(desk: Desk) -> None:
    desk.rig()
    bead = desk.bead("One")
    file = Path(desk.town.config_file)
    good = file.read_text()
    for text, said in {
        "[defaults]\nplugin = []\n": ":2: unknown key 'plugin' in [defaults]; did you mean 'plugins'?",
        "[town]\nname = \n": ":2",
        "[rigs.app]\nchek = 'x'\n": ":2: unknown key 'chek' in [rigs.app]; did you mean 'check'?",
        "[defaults]\nmax_polecats = 'five'\n": ":2",
        "[rigs.'../x']\norigin = '/x'\n": ":1",
        "[town]\nname = 'a'\nname = 'b'\n": ":3",
        "\0": ":1",
    }.items():
        file.write_text(text)
        for words in (["run"], ["sling", bead], ["status"], ["rig", "list"], ["config", "show"], ["plugins"], ["bead", "create", "x"]):
            line = one_line(desk, *words, expect=3)
            assert f"{file}{said}" in line, (line, said)
    file.write_text(good)
    desk.vermas("run")


def test_a_file_of_beads_that_is_damaged_between_verbs(desk: Desk) -> None:
    """Conflict markers, a torn line and nonsense in the rig's own file: the rest loads, the bad lines are named and kept, the run lands."""
    desk.rig()
    kept = desk.bead("Kept")
    file = Path(desk.town.issues("app"))
    whole = file.read_text()
    other = json.dumps({"id": "app-new1", "title": "Other", "status": "open", "priority": 1, "issue_type": "task"})
    file.write_text(f'<<<<<<< HEAD\n{whole}=======\n{other}\n>>>>>>> theirs\n["no", "bead"]\n{{"id": "app-half", "title": "to')
    done = desk.vermas("bead", "list")
    assert kept in done.stdout and "app-new1" in done.stdout
    for number in (1, 3, 5, 6, 7):
        assert f"issues.jsonl:{number}: " in done.stderr
    assert "Traceback" not in done.stderr and "app-half" in Path(f"{file}.quarantine").read_text()
    desk.vermas("run")
    assert {line["id"]: line["status"] for line in map(json.loads, file.read_text().splitlines())} == {kept: "closed", "app-new1": "closed"}
    assert "5 line(s)" in desk.vermas("doctor").stdout


def test_beads_that_wait_for_each_other(desk: Desk, tmp_path: Path) -> None:
    """A cycle cannot be made by a verb; one that comes in a file is named, and the run ends with it waiting."""
    desk.rig()
    file = tmp_path / "cycle.jsonl"
    names = ["app-a1", "app-b2", "app-c3"]
    records = [
        {
            "id": one,
            "title": one,
            "status": "open",
            "issue_type": "task",
            "dependencies": [{"issue_id": one, "depends_on_id": other, "type": "blocks"}],
        }
        for one, other in zip(names, [*names[1:], names[0]], strict=True)
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    imported = desk.vermas("bead", "import", str(file), "--rig", "app")
    assert "app-a1 -> app-b2 -> app-c3 -> app-a1" in imported.stdout + imported.stderr
    free = desk.bead("Free")
    assert [bead["id"] for bead in desk.json("bead", "ready")] == [free]
    desk.vermas("run")
    said = desk.vermas("run", "--bead", "app-a1", expect=9)
    assert "blocked by" in said.stdout and "app-b2" in said.stdout
    desk.vermas("bead", "dep", "remove", "app-c3", "app-a1")
    desk.vermas("run")
    assert [desk.status_of(name) for name in names] == ["closed"] * 3


def test_a_megabyte_of_description_goes_through_a_run(desk: Desk, tmp_path: Path) -> None:
    text = "".join(f"line {number} of a long story about ünïcode 🐾\n" for number in range(24_000))
    assert len(text.encode()) > 1_000_000
    file = tmp_path / "big.jsonl"
    file.write_text(json.dumps({"id": "app-big1", "title": "Big", "description": text, "status": "open", "issue_type": "task"}) + "\n")
    out = tmp_path / "seen"
    desk.rig(agent=["sh", "-c", f'cp "$VERMAS_PROMPT_FILE" {out}; cp "$VERMAS_BEAD_FILE" {out}.json; vermas done --no-change read'])
    desk.vermas("bead", "import", str(file), "--rig", "app")
    desk.vermas("run")
    assert text in out.read_text() and json.loads(Path(f"{out}.json").read_text())["description"] == text
    assert text in desk.vermas("bead", "show", "app-big1").stdout.replace("\n  ", "\n")
    for words in (["why", "app-big1"], ["log"], ["status"], ["polecat", "list", "--all"]):
        assert len(desk.vermas(*words).stdout) < 20_000, words
    assert json.loads(Path(desk.town.issues("app")).read_text())["description"] == text


@pytest.mark.parametrize("harm", ["gone", "no repository", "no target branch"])
def test_an_origin_that_is_broken_when_a_run_needs_it(
    desk: Desk, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """A human is told; the work waits and lands when the origin is back."""
    monkeypatch.setattr(advance, "_RETRY_S", 0.01)
    origin, aside = desk.rig(), tmp_path / "aside"
    bead = desk.bead("One", "write a.txt x", "commit one", "done")

    def hurt() -> None:
        if harm == "no target branch":
            git(origin, "branch", "-m", "main", "other")
        else:
            os.rename(origin, aside)
            if harm == "no repository":
                origin.mkdir()

    def heal() -> None:
        if harm == "no target branch":
            git(origin, "branch", "-m", "other", "main")
        else:
            if origin.exists():
                origin.rmdir()
            os.rename(aside, origin)

    hurt()
    done = desk.vermas("run", expect=9)
    assert str(origin) in done.stdout and "Traceback" not in done.stdout + done.stderr
    assert desk.kinds(bead).count("incident-opened") == 1
    heal()
    desk.vermas("polecat", "restart", bead)
    desk.vermas("run")
    assert log(origin) == ["one", "first"]


def test_text_that_is_no_unicode(desk: Desk, tmp_path: Path) -> None:
    """Lone surrogates and NUL, as JSON can hold them, are kept through a whole run and break no verb."""
    file, out = tmp_path / "odd.jsonl", tmp_path / "seen"
    record = {
        "id": "app-odd1",
        "title": "\ud800 a\0b \udfff",
        "description": "\udcff\0\n",
        "status": "open",
        "issue_type": "task",
        "x\ud800": "\0",
    }
    file.write_text(json.dumps(record) + "\n")
    desk.rig(agent=["sh", "-c", f'cp "$VERMAS_BEAD_FILE" {out}; echo x > a; git add a; git commit -qm one; vermas done'])
    desk.vermas("bead", "import", str(file), "--rig", "app")
    desk.vermas("run")
    assert json.loads(out.read_bytes().decode("utf-8", "surrogatepass"))["title"]
    for words in (
        ["bead", "show", "app-odd1"],
        ["why", "app-odd1"],
        ["log"],
        ["status"],
        ["polecat", "list", "--all"],
        ["polecat", "read", "p1"],
    ):
        desk.vermas(*words)
    written = json.loads(Path(desk.town.issues("app")).read_text())
    assert {key: written[key] for key in record if key != "status"} == {key: value for key, value in record.items() if key != "status"}
