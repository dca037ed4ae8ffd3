"""Every verb's help and JSON, and terminals that are small, dumb, not in UTF-8 or gone."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from vermas.cli.app import vermas as application
from vermas.store import Store, events

from .conftest import VERMAS, Desk, Fleet

Log = Callable[[Path], list[str]]


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands below a group, with the words that name them; groups too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


def test_every_verb_has_help(desk: Desk) -> None:
    for words, _ in commands(application):
        for option in ("--help", "-h"):
            said = desk.vermas(*words, option).stdout
            assert said.lower().startswith("usage: vermas"), words


#: For every command that takes `--json`: how it is called in a town with one landed bead and one stopped polecat.
PRINTED: dict[str, tuple[str, ...]] = {
    "init": ("init", "{new}"),
    "rig add": ("rig", "add", "more", "{origin}", "--agent", "script"),
    "rig list": ("rig", "list"),
    "rig show": ("rig", "show", "app"),
    "rig remove": ("rig", "remove", "more"),
    "config show": ("config", "show"),
    "config get": ("config", "get", "rigs.app.check"),
    "config set": ("config", "set", "defaults.max_polecats", "4"),
    "config unset": ("config", "unset", "defaults.max_polecats"),
    "config explain": ("config", "explain", "rigs.app.check"),
    "doctor": ("doctor",),
    "plugins": ("plugins",),
    "plugin new": ("plugin", "new", "place", "--kind", "runtime"),
    "bead create": ("bead", "create", "Another", "--rig", "app"),
    "bead list": ("bead", "list"),
    "bead show": ("bead", "show", "{landed}"),
    "bead ready": ("bead", "ready"),
    "bead update": ("bead", "update", "{stopped}", "--notes", "n"),
    "bead close": ("bead", "close", "{spare}"),
    "bead reopen": ("bead", "reopen", "{spare}"),
    "bead dep add": ("bead", "dep", "add", "{spare}", "{landed}"),
    "bead dep remove": ("bead", "dep", "remove", "{spare}", "{landed}"),
    "bead export": ("bead", "export", "{file}", "--rig", "app"),
    "bead import": ("bead", "import", "{file}", "--rig", "app"),
    "polecat list": ("polecat", "list", "--all"),
    "polecat show": ("polecat", "show", "p1"),
    "status": ("status",),
    "log": ("log",),
    "why": ("why", "{landed}"),
    "run": ("run", "--bead", "{spare}"),
}
#: They do take it; what they need is more than this town has.
ELSEWHERE = {"sling", "polecat send"}


def test_everything_that_prints_data_prints_json(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"origin": str(desk.rig()), "new": str(tmp_path / "new"), "file": str(tmp_path / "beads.jsonl")}
    places |= {"landed": desk.bead("Landed"), "stopped": desk.bead("Stopped", "vermas done --exit escalated -m why")}
    desk.vermas("run", expect=9)
    places["spare"] = desk.bead("Spare")
    takes = {" ".join(words) for words, command in commands(application) if any(p.name == "as_json" for p in command.params)}
    assert takes == {*PRINTED, *ELSEWHERE}
    for words in PRINTED.values():
        done = desk.vermas(*(places[word[1:-1]] if word[0] == "{" else word for word in words), "--json", expect=None)
        assert done.returncode == 0 and done.stderr == "" and done.stdout.isascii(), (words, done)
        for text in done.stdout.splitlines() if words[0] in ("run", "log") else [done.stdout]:
            json.loads(text)


def test_a_reader_that_leaves_early_is_no_error(desk: Desk, tmp_path: Path) -> None:
    """More than a pipe holds, so that the writer is still at it."""
    desk.rig()
    records = [{"id": f"app-{number:04}", "title": "x" * 200, "issue_type": "task"} for number in range(1500)]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    desk.vermas("bead", "import", str(tmp_path / "many.jsonl"), "--rig", "app")
    with Store(desk.town.db).write() as db:
        for number in range(1500):
            events.append(db, rig="app", kind="asked", bead_id=f"app-{number:04}", by="x" * 200, want="y")
    for words in ("log -n 9999", "log -n 9999 --json", "bead list", "bead list --json", "run --dry-run"):
        piped = f"{shlex.join(VERMAS)} -C {desk.town.root} {words} | head -n1"
        done = subprocess.run(["sh", "-c", piped], capture_output=True, text=True, env=desk.env, check=True)
        assert done.stderr == "" and done.stdout.count("\n") == 1, words


#: Where VerMAS may find itself. None takes a variable away.
SURROUNDINGS: dict[str, dict[str, str | None]] = {
    "C, nobody's home, optimised": {"LC_ALL": "C", "HOME": None, "PYTHONOPTIMIZE": "1", "PYTHONHASHSEED": "1"},
    "ASCII only, dumb": {"LANG": None, "PYTHONIOENCODING": "ascii", "TERM": "dumb", "PYTHONHASHSEED": "4242"},
}


@pytest.mark.parametrize("changed", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_a_whole_run_in_odd_surroundings(desk: Desk, fleet: Fleet, log: Log, changed: dict[str, str | None]) -> None:
    origin = desk.rig()
    for name, value in changed.items():
        fleet.env.pop(name, None)
        if value is not None:
            fleet.env[name] = value
    bead = fleet.bead("Grüße, 日本 🐾", "write größe.txt ünï", "commit grüße 🐾", "print 日本", "done")
    fleet.vermas("run")
    assert log(origin) == ["grüße 🐾", "first"] and desk.json("bead", "show", bead)["title"] == "Grüße, 日本 🐾"
    for words in (
        ["status"],
        ["log"],
        ["bead", "list", "--all"],
        ["bead", "show", bead],
        ["polecat", "read", "p1"],
        ["why", bead],
        ["doctor"],
    ):
        fleet.vermas(*words)


def test_small_and_dumb_terminals(desk: Desk, fleet: Fleet) -> None:
    desk.rig()
    for term, columns in (("dumb", "40"), ("xterm-256color", "12")):
        bead = desk.bead("A title that is longer than any line of forty columns could be, 日本")
        fleet.env.update({"TERM": term, "COLUMNS": columns, "LINES": "5"})
        shown = [fleet.on_a_terminal(*words) for words in (["run"], ["bead", "list", "--all"], ["why", bead])]
        assert "landed" in shown[0] and (term != "dumb" or "\x1b" not in "".join(shown))
