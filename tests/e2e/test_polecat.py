"""What an operator does with polecats, and what agents type in their sessions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vermas.testing.plugin import Wait
from vermas.testing.town import git

from .conftest import RUNTIMES, Fleet

Log = Callable[[Path], list[str]]


@pytest.fixture
def busy(fleet: Fleet, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Fleet, str, Path]:
    """A fleet with one polecat that has committed, has an uncommitted file, and waits for the file `go`."""
    runtime = getattr(request, "param", "process")
    fleet.rig(runtime=runtime)
    go = tmp_path / "go"
    bead = fleet.bead(
        "Busy",
        "first write kept.txt kept",
        "first commit kept",
        "first write loose.txt loose",
        "print at-the-gate",
        f"wait-for {go}",
        "commit all",
        "done",
    )
    fleet.vermas("sling", bead)
    return fleet, bead, go


@pytest.mark.parametrize("busy", RUNTIMES, indirect=True)
def test_stop_restart_and_land(busy: tuple[Fleet, str, Path], log: Log, vermas_wait: Wait) -> None:
    fleet, bead, go = busy
    vermas_wait(lambda: "at-the-gate" in fleet.vermas("polecat", "read", "p1").stdout)
    fleet.vermas("polecat", "stop", "--all")
    assert fleet.json("polecat", "show", "p1")["state"] == "stopped"
    go.touch()
    fleet.vermas("polecat", "restart", bead)
    fleet.vermas("run")
    assert log(fleet.origins / "app") == ["all", "kept", "first"]
    assert fleet.query("SELECT count(*) FROM sessions") == [(2,)]


def test_nuke_keeps_all_work_and_frees_bead_and_slot(busy: tuple[Fleet, str, Path], vermas_wait: Wait) -> None:
    fleet, bead, _ = busy
    vermas_wait(lambda: "at-the-gate" in fleet.vermas("polecat", "read", "p1").stdout)
    assert "at work" in fleet.vermas("polecat", "nuke", "p1", expect=8).stderr
    fleet.vermas("polecat", "nuke", "p1", "--force")
    rescued = fleet.query("SELECT rescued FROM polecats")[0][0]
    vault = fleet.town.vault("app")
    assert git(vault, "show", f"{rescued}:loose.txt") == "loose"
    assert git(vault, "show", f"{rescued}:kept.txt") == "kept"
    assert git(vault, "for-each-ref", "--format=%(objectname)", "refs/vermas/rescue/p1/") == rescued
    assert fleet.status_of(bead) == "open" and fleet.json("polecat", "list") == []
    assert not Path(fleet.town.slot_dir("app", "slot0"), "app").exists()
    assert fleet.vermas("polecat", "show", "p9", expect=4).stderr.startswith("vermas: no polecat named 'p9'")


def test_destroy_needs_to_be_typed_out(busy: tuple[Fleet, str, Path]) -> None:
    fleet, bead, _ = busy
    fleet.vermas("polecat", "destroy", "p1", expect=2)
    fleet.vermas("polecat", "destroy", "--yes-destroy-work", "p1")
    assert git(fleet.town.vault("app"), "for-each-ref", "refs/vermas/rescue/") == ""
    assert fleet.status_of(bead) == "open"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_send_reaches_the_agent(fleet: Fleet, log: Log, runtime: str, vermas_wait: Wait) -> None:
    origin = fleet.rig(runtime=runtime)
    fleet.vermas("sling", fleet.bead("Ask", "print which-colour?", "read", "write a.txt x", "commit a", "done"))
    vermas_wait(lambda: "which-colour" in fleet.vermas("polecat", "read", "p1").stdout)
    assert fleet.json("polecat", "send", "p1", "deep blue")["state"] == "delivered"
    fleet.vermas("run")
    assert log(origin) == ["a", "first"]
    assert "deep blue" in fleet.vermas("polecat", "read", "p1").stdout


def test_closing_the_bead_ends_its_polecat_and_keeps_the_work(busy: tuple[Fleet, str, Path]) -> None:
    fleet, bead, _ = busy
    fleet.vermas("bead", "close", bead, "--force")
    fleet.vermas("run")
    assert fleet.json("polecat", "list") == [] and fleet.status_of(bead) == "closed"
    assert fleet.query("SELECT rescued FROM polecats")[0][0] not in ("", "nothing")


def test_why_tells_the_chain_with_evidence(fleet: Fleet) -> None:
    fleet.rig()
    bead = fleet.bead("Crash", "crash-once", "write a.txt x", "commit a", "done")
    fleet.vermas("run")
    told = fleet.json("why", bead)
    ended = [event for event in told["events"] if event["kind"] == "session-ended"]
    assert told["outcome"]["state"] == "landed" and ended[0]["data"]["signal"] == 9
    step = next(event for event in told["events"] if event["kind"] == "step")
    assert step["data"]["by"] == "watchdog" and step["data"]["action"] == "restart"
    assert "SIGKILL" in fleet.vermas("why", "p1").stdout
    assert "landed" in fleet.vermas("log").stdout


def test_an_agent_is_told_what_it_needs(fleet: Fleet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    agent = f"""
        set -e
        vermas prime > {out}.prime; vermas assignment > {out}.assignment; vermas signal hello-there
        env > {out}.env
        vermas done --no-change looked
    """
    fleet.rig(agent=["sh", "-c", agent])
    bead = fleet.bead("Look `touch /tmp/never` around")
    fleet.vermas("run")
    env = dict(line.split("=", 1) for line in Path(f"{out}.env").read_text().splitlines() if "=" in line)
    assert env["VERMAS_BEAD"] == env["BEAD_ID"] == bead
    assert env["BD_ACTOR"] == "app/polecats/slot0" and env["VERMAS_SESSION_NO"] == "1"
    assert env["VERMAS_POLECAT"] == "p1" and env["VERMAS_RIG"] == "app" and env["VERMAS_TOWN"] == fleet.town.root
    assert Path(env["VERMAS_PROMPT_FILE"]).name == "prompt-1.md"
    assert bead in Path(f"{out}.prime").read_text()
    assert json.loads(Path(f"{out}.assignment").read_text())["bead"]["id"] == bead
    assert fleet.query("SELECT name FROM signals WHERE name = 'hello-there'") == [("hello-there",)]


def test_done_proves_the_work(fleet: Fleet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    agent = f"""
        say() {{ "$@" >> {out} 2>&1; echo "exit $?" >> {out}; }}
        say vermas done
        echo x > loose.txt; say vermas done; rm loose.txt
        git checkout -q -b elsewhere; say vermas done; git checkout -q -
        cd /tmp; say vermas done; cd "$OLDPWD"
        say vermas done --exit nonsense
        say vermas done --no-change ""
        VERMAS_SESSION_NO=7 say vermas done
        echo y > good.txt; git add good.txt; git commit -qm good
        say vermas done --no-change because
        say vermas done
        say vermas done
    """
    fleet.rig(agent=["sh", "-c", agent])
    fleet.bead("Prove")
    fleet.vermas("run")
    text = out.read_text()
    codes = [int(line.split()[1]) for line in text.splitlines() if line.startswith("exit ")]
    assert codes == [8, 8, 8, 8, 2, 2, 8, 8, 0, 0]
    for words in ("nothing is committed", "loose.txt", "'elsewhere'", "not in this polecat's checkout", "submitted", "already ended"):
        assert words in text


def test_in_session_verbs_outside_of_a_session(fleet: Fleet) -> None:
    for verb in ("prime", "assignment", "done"):
        assert "not a VerMAS session" in fleet.vermas(verb, expect=8).stderr
    assert fleet.vermas("signal", "../x", expect=2).stderr.startswith("vermas: usage: vermas signal")
    assert fleet.vermas("handoff", expect=2).stderr.startswith("vermas: usage: vermas handoff")


def test_only_homes_of_polecats_expire_in_the_archive(fleet: Fleet) -> None:
    fleet.rig()
    archive = Path(fleet.town.archive)
    work = archive / "rig-old-20260101-000000-abcd" / "repo.git"
    work.mkdir(parents=True)
    for number in range(1000, 1210):
        (archive / f"p{number}").mkdir()
    fleet.bead("One more")
    fleet.vermas("run")
    assert work.exists()
    left = sorted(path.name for path in archive.glob("p*"))
    assert len(left) == 200 and left[-1] == "p1209"
