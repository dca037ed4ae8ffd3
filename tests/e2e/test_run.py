"""Beads to landed commits, through the command line, on real git, real sessions and a scripted agent."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from vermas.testing.plugin import Wait
from vermas.testing.town import git

from .conftest import RUNTIMES, Fleet

Log = Callable[[Path], list[str]]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_ready_bead_becomes_a_landed_commit(fleet: Fleet, log: Log, runtime: str) -> None:
    origin = fleet.rig(runtime=runtime, check="test -f hello.txt")
    bead = fleet.bead("Say hello", "write hello.txt hello", "commit say hello", "done")
    done = fleet.vermas("run")
    assert log(origin) == ["say hello", "first"]
    assert git(origin, "show", "main:hello.txt") == "hello"
    assert fleet.status_of(bead) == "closed"
    assert f"app  {bead}" in done.stdout and "landed" in done.stdout
    assert fleet.json("polecat", "list") == []
    assert fleet.query("SELECT count(*) FROM sessions") == [(1,)]
    jsonl = Path(fleet.town.issues("app")).read_text()
    assert json.loads(jsonl)["status"] == "closed"


def test_beads_wait_for_what_they_depend_on_across_rigs(fleet: Fleet, log: Log) -> None:
    api, web = fleet.rig("api"), fleet.rig("web")
    first = fleet.bead("Server", "write server.txt x", "commit server", "done", rig="api")
    second = fleet.bead("Client", "write client.txt x", "commit client", "done", rig="web", deps=(first,))
    fleet.bead("Release", "write release.txt x", "commit release", "done", rig="api", deps=(second,))
    fleet.vermas("run")
    assert log(api) == ["release", "server", "first"]
    assert log(web) == ["client", "first"]


def test_an_agent_that_crashes_goes_on_in_the_same_checkout(fleet: Fleet, log: Log) -> None:
    origin = fleet.rig()
    bead = fleet.bead("Crash", "first write half.txt unsaved", "crash-once", "write whole.txt x", "commit both halves", "done")
    fleet.vermas("run")
    assert git(origin, "show", "main:half.txt") == "unsaved"
    assert log(origin) == ["both halves", "first"]
    assert fleet.query("SELECT exit FROM sessions WHERE bead_id = ? ORDER BY session_no", bead) == [("signal 9",), ("0",)]


def test_an_agent_that_forgets_done_gets_one_more_session_then_a_human(fleet: Fleet) -> None:
    fleet.rig()
    bead = fleet.bead("Forget", "write a.txt x", "commit a", "exit 0")
    done = fleet.vermas("run", expect=9)
    assert fleet.query("SELECT count(*) FROM sessions WHERE bead_id = ?", bead) == [(2,)]
    assert fleet.kinds(bead).count("incident-opened") == 1
    assert "stopped" in done.stdout and bead in done.stderr
    assert [p["state"] for p in fleet.json("polecat", "list")] == ["stopped"]


def test_restarts_are_bounded(fleet: Fleet) -> None:
    fleet.rig()
    fleet.vermas("config", "set", "rigs.app.options.watchdog.backoff_base_s", "0.01")
    bead = fleet.bead("Broken", "exit 3")
    fleet.vermas("run", expect=9)
    assert fleet.query("SELECT count(*) FROM sessions WHERE bead_id = ?", bead) == [(5,)]
    assert fleet.kinds(bead).count("incident-opened") == 1


def test_two_beads_on_one_line_are_sent_back_and_land(fleet: Fleet, log: Log, tmp_path: Path) -> None:
    origin = fleet.rig(files={"page.txt": ""})
    go = tmp_path / "go"
    fleet.bead("One", "append page.txt one", "commit one", f"run touch {go}", "done")
    second = fleet.bead("Two", "append page.txt two", "commit two", f"wait-for {go}", "vermas done")
    fleet.vermas("run")
    assert sorted(git(origin, "show", "main:page.txt").split()) == ["one", "two"]
    assert set(log(origin)) >= {"one", "two"}
    states = {state for (state,) in fleet.query("SELECT state FROM submissions")}
    assert states <= {"landed", "conflict"} and fleet.status_of(second) == "closed"


def test_red_work_goes_back_with_the_log_and_lands_when_mended(fleet: Fleet, log: Log) -> None:
    agent = """
        set -e
        if grep -q 'the answer is wrong' "$VERMAS_PROMPT_FILE"; then echo 42 > answer; else echo 41 > answer; fi
        git add answer; git commit -qm "answer $(cat answer)"; vermas done
    """
    origin = fleet.rig(check='test "$(cat answer)" = 42 || { echo the answer is wrong; exit 1; }', agent=["sh", "-c", agent])
    bead = fleet.bead("Answer")
    fleet.vermas("run")
    assert log(origin) == ["answer 42", "answer 41", "first"]
    assert [state for (state,) in fleet.query("SELECT state FROM submissions ORDER BY id")] == ["red", "landed"]
    assert fleet.kinds(bead).count("rework") == 1


def test_work_that_stays_red_never_lands_and_calls_a_human(fleet: Fleet, log: Log) -> None:
    origin = fleet.rig(check="echo nope; exit 1", agent=["sh", "-c", "date +%N >> n; git add n; git commit -qm n; vermas done"])
    bead = fleet.bead("Hopeless")
    done = fleet.vermas("run", expect=9)
    assert log(origin) == ["first"]
    assert fleet.query("SELECT count(*) FROM submissions WHERE state = 'red'") == [(3,)]
    assert fleet.kinds(bead).count("incident-opened") == 1 and "nope" in done.stdout


def test_the_target_that_moves_meanwhile_is_merged(fleet: Fleet, log: Log, tmp_path: Path) -> None:
    origin = fleet.rig()
    clone = tmp_path / "clone"
    push = f"git -C {clone} push -q origin HEAD:main"
    git(tmp_path, "clone", "-q", str(origin), str(clone))
    (clone / "other.txt").write_text("from outside\n")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "from outside")
    fleet.bead("Mine", "write mine.txt x", "commit mine", f"run {push}", "done")
    fleet.vermas("run")
    assert set(log(origin)) == {"mine", "from outside", "first"}


def test_done_without_a_change_escalated_and_deferred(fleet: Fleet, log: Log) -> None:
    origin = fleet.rig()
    nothing = fleet.bead("Nothing", "vermas done --no-change 'is so already'".replace("'is so already'", "superfluous"))
    help_me = fleet.bead("Help", "write half.txt x", "commit half", "vermas done --exit escalated -m which-colour")
    later = fleet.bead("Later", "write part.txt x", "vermas done --exit deferred -m tomorrow")
    done = fleet.vermas("run", expect=9)
    assert log(origin) == ["first"]
    assert fleet.json("bead", "show", nothing)["close_reason"] == "no change: superfluous"
    assert fleet.status_of(help_me) == "hooked" and fleet.status_of(later) == "deferred"
    assert "which-colour" in done.stdout
    assert fleet.query("SELECT want, handed FROM polecats WHERE bead_id = ?", help_me) == [("stop", 1)]
    rescued = fleet.query("SELECT rescued FROM polecats WHERE bead_id = ?", later)[0][0]
    assert git(fleet.town.vault("app"), "show", f"{rescued}:part.txt") == "x"


def test_handoff_starts_a_new_session_with_the_note(fleet: Fleet, log: Log) -> None:
    origin = fleet.rig()
    bead = fleet.bead("Long", "first write one.txt x", "first commit one", "first vermas handoff -m mind-the-gap", "first exit 0", "done")
    fleet.vermas("run")
    assert log(origin) == ["one", "first"]
    assert fleet.query("SELECT finished FROM sessions WHERE bead_id = ? ORDER BY session_no", bead) == [("handoff",), ("done",)]
    prompt = Path(fleet.town.archive, "p1", "prompt-2.md").read_text()
    assert "mind-the-gap" in prompt


def test_sling_returns_and_run_lands(fleet: Fleet, log: Log, tmp_path: Path, vermas_wait: Wait) -> None:
    origin = fleet.rig()
    go = tmp_path / "go"
    bead = fleet.bead("Slow", f"wait-for {go}", "write a.txt x", "commit a", "done")
    said = fleet.json("sling", bead)
    assert said["polecat"] == "p1" and fleet.json("polecat", "list")[0]["state"] == "working"
    again = fleet.vermas("sling", bead, expect=8)
    assert "p1" in again.stderr
    go.touch()
    fleet.vermas("run")
    assert log(origin) == ["a", "first"]
    assert fleet.query("SELECT count(*) FROM sessions") == [(1,)]


def test_two_rigs_run_on_different_runtimes(fleet: Fleet) -> None:
    fleet.rig("one", "process")
    fleet.rig("two", "tmux")
    fleet.bead("A", rig="one")
    fleet.bead("B", rig="two")
    fleet.vermas("run")
    assert fleet.query("SELECT driver FROM sessions ORDER BY driver") == [("process",), ("tmux",)]


def test_a_live_session_stays_with_the_runtime_that_made_it(fleet: Fleet, log: Log, tmp_path: Path) -> None:
    origin = fleet.rig(runtime="process")
    go = tmp_path / "go"
    old = fleet.bead("Old", f"wait-for {go}", "write old.txt x", "commit old", "done")
    fleet.vermas("sling", old)
    fleet.vermas("config", "set", "rigs.app.plugins", '["slots", "worktree", "tmux", "script", "watchdog", "refinery"]')
    new = fleet.bead("New", "write new.txt x", "commit new", f"run touch {go}", "done")
    fleet.vermas("run")
    drivers = dict(fleet.query("SELECT bead_id, driver FROM sessions"))
    assert drivers == {old: "process", new: "tmux"}
    assert set(log(origin)) == {"old", "new", "first"}


def test_plugins_of_one_run(fleet: Fleet) -> None:
    fleet.rig(runtime="process")
    fleet.bead("A")
    fleet.vermas("run", "app", "-p", "no:process", "-p", "tmux")
    assert fleet.query("SELECT driver FROM sessions") == [("tmux",)]


def test_only_the_chosen_beads_run(fleet: Fleet, log: Log) -> None:
    origin = fleet.rig()
    chosen, left = fleet.bead("Chosen", "write c.txt x", "commit chosen", "done"), fleet.bead("Left")
    fleet.vermas("run", "--bead", chosen)
    assert log(origin) == ["chosen", "first"] and fleet.status_of(left) == "open"


def test_a_dry_run_has_no_effect(fleet: Fleet) -> None:
    fleet.rig()
    bead = fleet.bead("A")
    before = fleet.query("SELECT max(seq) FROM events")
    said = fleet.json("run", "--dry-run")
    assert said == [{"rig": "app", "bead": bead, "title": "A", "would": "start in slot0"}]
    assert fleet.query("SELECT max(seq) FROM events") == before and fleet.status_of(bead) == "open"


def test_json_lines(fleet: Fleet) -> None:
    fleet.rig()
    bead = fleet.bead("A")
    lines = [json.loads(line) for line in fleet.vermas("run", "--json").stdout.splitlines()]
    assert [line["kind"] for line in lines[:-1]][:2] == ["claimed", "sandbox-made"]
    assert [(o["bead_id"], o["state"]) for o in lines[-1]["outcomes"]] == [(bead, "landed")]


def test_at_most_so_many_at_once(fleet: Fleet) -> None:
    fleet.rig()
    for number in range(3):
        fleet.bead(f"B{number}")
    fleet.vermas("run", "--max", "1")
    kinds = [kind for (kind,) in fleet.query("SELECT kind FROM events WHERE kind IN ('claimed', 'freed') ORDER BY seq")]
    assert kinds == ["claimed", "freed"] * 3


def test_ctrl_c_leaves_sessions_running_and_run_comes_back(fleet: Fleet, log: Log, tmp_path: Path, vermas_wait: Wait) -> None:
    origin = fleet.rig()
    go = tmp_path / "go"
    fleet.bead("Slow", f"wait-for {go}", "write a.txt x", "commit a", "done")
    run = fleet.start("run")
    vermas_wait(lambda: fleet.query("SELECT 1 FROM sessions WHERE state = 'running'"))
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 130 and "vermas run" in err
    assert fleet.json("polecat", "list")[0]["state"] == "working"
    go.touch()
    fleet.vermas("run")
    assert log(origin) == ["a", "first"]
    assert fleet.query("SELECT count(*) FROM sessions") == [(1,)]


def test_watch_takes_new_beads_and_leaves_on_request(fleet: Fleet, vermas_wait: Wait) -> None:
    fleet.rig()
    run = fleet.start("run", "--watch")
    vermas_wait(lambda: "run" in fleet.json("status")["rigs"][0]["driven_by"])
    bead = fleet.bead("Late")
    vermas_wait(lambda: fleet.query("SELECT 1 FROM submissions WHERE state = 'landed'"), 20)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=20)
    assert run.returncode == 130 and fleet.status_of(bead) == "closed"


def test_a_bug_in_one_polecats_step_costs_that_polecat_alone(fleet: Fleet, log: Log, tmp_path: Path, vermas_wait: Wait) -> None:
    origin = fleet.rig()
    fleet.vermas("sling", fleet.bead("Odd", f"wait-for {tmp_path / 'never'}"))
    with sqlite3.connect(fleet.town.db) as db:
        db.execute("INSERT INTO signals (polecat_id, session_no, name, mono, data) VALUES ('p1', 1, 'odd', 0, 'not JSON')")
    db.close()
    fleet.bead("Good", "write good.txt x", "commit good", "done")
    run = fleet.start("run")
    vermas_wait(lambda: log(origin)[0] == "good", 30)
    vermas_wait(lambda: fleet.query("SELECT 1 FROM events WHERE kind = 'effect-failed' AND polecat_id = 'p1'"), 30)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130 and "Traceback" not in err
    assert "JSONDecodeError" in fleet.query("SELECT data FROM events WHERE kind = 'effect-failed'")[0][0]
