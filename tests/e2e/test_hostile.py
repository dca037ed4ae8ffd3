"""Text and repositories that are out to harm: nothing of theirs is executed, and nothing of theirs steers a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vermas.testing.plugin import Wait

from .conftest import RUNTIMES, Desk, Fleet

#: An agent that repeats its bead's words wherever it can: on its terminal, as its window's title, in names, messages and reasons.
PARROT = """
import json, os, subprocess, sys
bead = json.load(open(os.environ["VERMAS_BEAD_FILE"]))
print(open(os.environ["VERMAS_PROMPT_FILE"]).read())
print("\\033]2;" + bead["title"] + "\\007", flush=True)
if "escalate" in bead["labels"]:
    sys.exit(subprocess.call(["vermas", "done", "--exit", "escalated", "-m", bead["title"]]))
open(bead["title"].replace("/", "-")[:80], "w").write(bead["description"])
open("red.txt" if "red" in bead["labels"] else "green.txt", "a").write(os.environ["VERMAS_SESSION_NO"])
subprocess.run(["git", "add", "-A"], check=True)
subprocess.run(["git", "commit", "-q", "--cleanup=verbatim", "-m", bead["title"]], check=True)
sys.exit(subprocess.call(["vermas", "done", "-m", bead["title"]]))
"""


def hostile(canary: Path) -> str:
    """A title that would make `canary` wherever it is interpreted, and steer the terminal wherever it is shown as it is."""
    touch = f"touch {canary}"
    return (
        f"$({touch})`{touch}`;{touch}|{touch}&{touch} #({touch})#{{pane_id}} '\"; {touch} # %n {{0.__class__}} [red]x[/] [/nope] "
        "\x1b]0;owned\x07\x1b[2J\x1b]52;c;QUFB\x07\x9b31m\x1b[201~\r\x08\x7f\u202egnp\u2066\u200b --help"
    )


def harmless(text: str) -> bool:
    """Nothing but what a terminal shows as it is."""
    return all(char in "\n\t" or char.isprintable() for char in text)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_hostile_text_is_data_in_every_verb(desk: Desk, tmp_path: Path, runtime: str) -> None:
    canary = Path(desk.env["XDG_RUNTIME_DIR"], "c")
    title = hostile(canary)
    agent = tmp_path / "parrot.py"
    agent.write_text(PARROT)
    desk.rig(runtime=runtime, agent=[sys.executable, "-S", str(agent)], check="printf '\\033]0;owned\\007[/red]\\r\\n'; test ! -e red.txt")
    desk.vermas("config", "set", "rigs.app.max_attempts", "1")
    lands, red, asks = (
        json.loads(desk.vermas("bead", "create", title, "--rig", "app", "-d", f"{title}\n```\n{title}", "-l", label, "--json").stdout)["id"]
        for label in ("green", "red", "escalate")
    )
    run = desk.vermas("run", expect=9)
    assert [desk.status_of(bead) for bead in (lands, red, asks)] == ["closed", "hooked", "hooked"]
    assert harmless(run.stdout + run.stderr)
    ids = [polecat["id"] for polecat in desk.json("polecat", "list", "--all")]
    verbs = [
        ["status"],
        ["log", "-n", "999"],
        ["polecat", "list", "--all"],
        ["bead", "list", "--all"],
        ["bead", "ready"],
        ["doctor"],
        ["rig", "show", "app"],
    ]
    verbs += [[*verb, name] for name in (lands, red, asks) for verb in (["bead", "show"], ["why"])]
    verbs += [[*verb, name] for name in ids for verb in (["polecat", "show"], ["polecat", "read"], ["why"])]
    verbs += [
        ["bead", "update", asks, "--notes", title],
        ["bead", "create", title, "--rig", "app"],
        ["polecat", "restart", red],
        ["polecat", "nuke", asks],
    ]
    verbs += [["run", "--dry-run"]]
    shown = {}
    for words in verbs:
        done = desk.vermas(*words)
        assert harmless(done.stdout + done.stderr), words
        shown[words[0], words[-1] if words[1:2] == ["read"] else ""] = done.stdout
        for as_json in [["--json"]] if words[:2] not in (["polecat", "read"], ["polecat", "restart"], ["polecat", "nuke"]) else []:
            said = desk.vermas(*words, *as_json, expect=None).stdout
            assert said.isascii() and "\x1b" not in said, words
    assert "\\x1b]0;owned" in shown["why", ""] and "\\x1b]2;" in shown["polecat", ids[0]], "it did get there"
    assert not canary.exists()


def test_hostile_text_on_a_terminal(desk: Desk, fleet: Fleet, tmp_path: Path) -> None:
    """The live picture of a run is drawn by rich: nothing in it is taken for markup, nor sent to the terminal as it is."""
    canary = Path(fleet.env["XDG_RUNTIME_DIR"], "c")
    agent = tmp_path / "parrot.py"
    agent.write_text(PARROT)
    desk.rig(agent=[sys.executable, "-S", str(agent)])
    desk.vermas("bead", "create", hostile(canary), "--rig", "app", "-l", "escalate")
    desk.vermas("bead", "create", hostile(canary), "--rig", "app", "-l", "green")
    fleet.env.update({"TERM": "xterm-256color", "COLUMNS": "100"})
    for words, code in ((["run"], 9), (["status"], 0), (["bead", "list"], 0), (["polecat", "list"], 0)):
        shown = fleet.on_a_terminal(*words, expect=code)
        assert "\x1b]" not in shown and "\x9b" not in shown and "\u202e" not in shown and "\x07" not in shown
        assert "[2J" not in shown.replace("\\x1b[2J", "")
    assert not canary.exists()


#: Commits, then sets every trap that git has in the repository that its checkout hangs on.
TRAPPER = """
import os, subprocess, sys
from pathlib import Path
from vermas.testing.sandbox_hostile import _set_traps
from vermas.types import Sandbox
bead = os.environ["VERMAS_BEAD"]
if not Path("trapped.txt").exists():
    Path("trapped.txt").write_text("x")
    Path(".gitattributes").write_text("* filter=canary diff=canary merge=canary\\n")
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "commit", "-q", "-m", "trapped"], check=True)
    _set_traps(Sandbox(driver="", path=os.getcwd(), branch="", base_sha=""), Path(sys.argv[1]), "config")
    os.execvp("vermas", ["vermas", "done"])
if os.environ["VERMAS_POLECAT"] == "p2":
    Path("loose.txt").write_text("precious")
    Path("trapped.txt").write_text("changed")
    Path(sys.argv[1] + ".ready").touch()
    os.execvp("sleep", ["sleep", "600"])
os.execvp("vermas", ["vermas", "done", "--no-change", "nothing"])
"""


@pytest.mark.parametrize("sandbox", ["worktree", "clone"])
def test_traps_in_the_repository_of_an_agent_catch_nobody(desk: Desk, tmp_path: Path, vermas_wait: Wait, sandbox: str) -> None:
    canary = tmp_path / "traps" / "canary"
    canary.parent.mkdir()
    agent = tmp_path / "trapper.py"
    agent.write_text(TRAPPER)
    origin = desk.rig(agent=[sys.executable, str(agent), str(canary)], check="git status && test -f trapped.txt")
    desk.vermas("config", "set", "rigs.app.plugins", json.dumps(["slots", sandbox, "process", "script", "watchdog", "refinery"]))
    first = desk.bead("Trap")
    second = desk.bead("Second", deps=(first,))
    done = desk.vermas("run", "--bead", first, expect=None)
    assert not canary.exists(), canary.read_text()
    assert done.returncode == 0, done
    desk.vermas("sling", second)
    vermas_wait(Path(f"{canary}.ready").exists, 20)
    for words in (
        ["polecat", "show", "p2"],
        ["polecat", "list"],
        ["polecat", "read", "p2"],
        ["status"],
        ["why", second],
        ["rig", "show", "app"],
        ["doctor", "--fix"],
        ["run", "--dry-run"],
        ["bead", "show", second],
        ["polecat", "stop", "p2"],
        ["polecat", "nuke", "p2"],
        ["rig", "add", "app", str(origin)],
        ["run"],
        ["polecat", "show", "p1"],
        ["polecat", "show", "p2"],
        ["doctor"],
        ["rig", "remove", "app"],
    ):
        done = desk.vermas(*words, expect=None)
        assert not canary.exists(), f"{words}: {canary.read_text()}"
        assert done.returncode == 0, done
    rescued = desk.query("SELECT rescued FROM polecats WHERE id = 'p2'")[0][0]
    kept = next(Path(desk.town.archive).glob("rig-app-*/repo.git"))
    saved = subprocess.run(["git", "-C", kept, "show", f"{rescued}:loose.txt"], capture_output=True, text=True, check=True)
    assert saved.stdout == "precious"
    if sandbox == "worktree":
        yard = next(Path(desk.town.archive).glob("rig-app-*/yard.git"))
        subprocess.run(["git", "-C", yard, "worktree", "add", "-f", tmp_path / "x", "HEAD"], capture_output=True, check=False)
        assert canary.exists(), "the traps work"
