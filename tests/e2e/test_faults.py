"""What is killed while agents work, on real processes: the work goes on, once, and lands.

The agents of these tests hold a lock with their whole process tree and write down when another tree had it at that moment.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from vermas.testing import fake_agent
from vermas.testing.plugin import Wait
from vermas.testing.reaper import end_marked, marked
from vermas.testing.town import git

from .conftest import RUNTIMES, VERMAS, Fleet

Log = Callable[[Path], list[str]]
#: Session 1 gets stuck after it has left something in the checkout, all later ones finish the work.
STUCK = ("first write half.txt half", "first wait-for /nonexistent", "write whole.txt whole", "commit both halves", "done")


@dataclass(frozen=True)
class Site:
    """A rig with one bead whose agents are watched."""

    fleet: Fleet
    origin: Path
    bead: str
    log: Path

    @property
    def starts(self) -> list[str]:
        """The sessions in which an agent was started, `p1/1`."""
        path = self.log / "starts"
        return [line.partition("/")[2] for line in path.read_text().split()] if path.exists() else []

    def session(self, number: int) -> dict[str, int]:
        """The record that the supervisor of a session wrote."""
        found = list(Path(self.fleet.town.root, "app", "polecats").glob(f"*/.p1/shim-{number}.json"))
        return dict(json.loads(found[0].read_text())) if found else {}

    def stuck(self) -> bool:
        """Whether session 1 has come to where it is stuck."""
        halves = Path(self.fleet.town.root, "app", "polecats").glob("*/app/half.txt")
        return bool(self.session(1)) and any(half.read_text() == "half\n" for half in halves)

    def insist_single(self) -> None:
        """No two process trees ever, and none now."""
        assert not (self.log / "doubles").exists(), (self.log / "doubles").read_text()
        assert list(marked([f"VERMAS_SESSION={self.fleet.town.id}/".encode()])) == []


@pytest.fixture
def watched(fleet: Fleet, tmp_path: Path) -> Callable[..., Site]:
    """`watched(runtime, *steps)` makes a rig with a bead."""
    log = tmp_path / "log"
    log.mkdir()
    witness = log / "agent.sh"
    lines = (
        f"cd {shlex.quote(str(log))}; exec 9>>tree",
        "flock -n 9 || echo $VERMAS_SESSION >> doubles",
        "echo $VERMAS_SESSION >> starts",
        f'cd "$OLDPWD"; exec {shlex.join(fake_agent.command())}',
    )
    witness.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    witness.chmod(0o700)

    def make(runtime: str, *steps: str) -> Site:
        origin = fleet.rig(runtime=runtime, agent=[str(witness)])
        return Site(fleet, origin, fleet.bead("Work", *steps), log)

    return make


def _lands(site: Site, run: subprocess.Popen[str], log: Log, *, sessions: int) -> None:
    out, err = run.communicate(timeout=90)
    assert run.returncode == 0, out + err
    assert log(site.origin) == ["both halves", "first"]
    assert git(site.origin, "show", "main:half.txt") == "half"
    assert site.starts == [f"p1/{number}" for number in range(1, sessions + 1)]
    site.insist_single()


@pytest.mark.parametrize("runtime", RUNTIMES[1:])
@pytest.mark.parametrize("before", [(), ("first ignore-term",)], ids=["usual agent", "agent that ignores HUP"])
def test_the_tmux_server_is_killed(
    watched: Callable[..., Site], log: Log, vermas_wait: Wait, runtime: str, before: tuple[str, ...]
) -> None:
    site = watched(runtime, *before, *STUCK)
    run = site.fleet.start("run")
    vermas_wait(site.stuck, 30)
    server = subprocess.run(
        ["tmux", "-S", site.fleet.town.tmux_socket, "display", "-p", "#{pid}"], capture_output=True, text=True, check=True
    )
    os.kill(int(server.stdout), signal.SIGKILL)
    _lands(site, run, log, sessions=2)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("before", [(), ("first ignore-term",)], ids=["usual agent", "agent that ignores TERM"])
def test_the_supervisor_is_killed(watched: Callable[..., Site], log: Log, vermas_wait: Wait, runtime: str, before: tuple[str, ...]) -> None:
    site = watched(runtime, *before, *STUCK)
    run = site.fleet.start("run")
    vermas_wait(site.stuck, 30)
    os.kill(site.session(1)["pid"], signal.SIGKILL)
    _lands(site, run, log, sessions=2)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_agent_is_killed(watched: Callable[..., Site], log: Log, vermas_wait: Wait, runtime: str) -> None:
    site = watched(runtime, *STUCK)
    run = site.fleet.start("run")
    vermas_wait(site.stuck, 30)
    os.kill(site.session(1)["agent_pid"], signal.SIGKILL)
    _lands(site, run, log, sessions=2)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("also_supervisor", [False, True], ids=["agent ends", "supervisor killed"])
def test_a_daemonised_child_is_ended(
    watched: Callable[..., Site], log: Log, vermas_wait: Wait, runtime: str, also_supervisor: bool
) -> None:
    ending = STUCK[1:] if also_supervisor else STUCK[2:]
    site = watched(runtime, "write .gitignore *.pid", "first daemonise child.pid", STUCK[0], *ending)
    run = site.fleet.start("run")
    if also_supervisor:
        vermas_wait(site.stuck, 30)
        os.kill(site.session(1)["pid"], signal.SIGKILL)
    _lands(site, run, log, sessions=2 if also_supervisor else 1)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_killed_run_is_carried_on_with_the_same_session(
    watched: Callable[..., Site], log: Log, vermas_wait: Wait, tmp_path: Path, runtime: str
) -> None:
    go = tmp_path / "go"
    site = watched(runtime, "write half.txt half", f"wait-for {go}", "write whole.txt whole", "commit both halves", "done")
    first = site.fleet.start("run")
    vermas_wait(site.stuck, 30)
    first.kill()
    first.communicate()
    second = site.fleet.start("run")
    vermas_wait(lambda: _holder(site) == second.pid, 30)
    go.touch()
    _lands(site, second, log, sessions=1)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_everything_is_killed_at_once(watched: Callable[..., Site], log: Log, vermas_wait: Wait, runtime: str) -> None:
    site = watched(runtime, *STUCK)
    run = site.fleet.start("run")
    vermas_wait(site.stuck, 30)
    town = site.fleet.town
    end_marked([f"VERMAS_SESSION={town.id}/".encode(), os.fsencode(town.root), os.fsencode(town.run_dir)])
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    _lands(site, site.fleet.start("run"), log, sessions=2)


def test_a_session_that_ended_while_nothing_ran_is_found_ended(
    watched: Callable[..., Site], log: Log, vermas_wait: Wait, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    site = watched("process", "write half.txt half", f"wait-for {go}", "write whole.txt whole", "commit both halves", "done")
    first = site.fleet.start("run")
    vermas_wait(site.stuck, 30)
    first.kill()
    first.communicate()
    go.touch()
    vermas_wait(lambda: any(Path(site.fleet.town.root, "app", "polecats").glob("*/.p1/exit-1.json")), 30)
    _lands(site, site.fleet.start("run"), log, sessions=1)


def test_a_second_run_names_the_holder(watched: Callable[..., Site], log: Log, vermas_wait: Wait, tmp_path: Path) -> None:
    go = tmp_path / "go"
    site = watched("process", "write half.txt half", f"wait-for {go}", "write whole.txt whole", "commit both halves", "done")
    run = site.fleet.start("run")
    vermas_wait(site.stuck, 30)
    refused = site.fleet.vermas("run", expect=75)
    assert f"vermas run (pid {run.pid})" in refused.stderr
    go.touch()
    _lands(site, run, log, sessions=1)


def test_a_git_that_outlives_its_run_keeps_the_next_one_out(
    watched: Callable[..., Site], log: Log, vermas_wait: Wait, tmp_path: Path
) -> None:
    site = watched("process", *STUCK[:1], *STUCK[2:])
    reached, go = tmp_path / "reached", tmp_path / "go"
    hook = site.origin / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {reached}\nuntil [ -e {go} ]; do sleep 0.02; done\n")
    hook.chmod(0o700)
    first = site.fleet.start("run")
    vermas_wait(reached.exists, 60)
    first.kill()
    first.communicate()
    refused = site.fleet.vermas("run", expect=75)
    assert "held" in refused.stderr
    go.touch()
    vermas_wait(lambda: git(site.origin, "rev-list", "--count", "main") != "1", 30)
    vermas_wait(lambda: not _rig_is_held(site), 30)
    _lands(site, site.fleet.start("run"), log, sessions=1)
    assert git(site.origin, "rev-list", "--count", "--first-parent", "main") == "2"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_session_that_was_replaced_is_refused(watched: Callable[..., Site], log: Log, vermas_wait: Wait, runtime: str) -> None:
    site = watched(runtime, *STUCK[:2], "wait-for go", "write whole.txt whole", "commit both halves", "done")
    run = site.fleet.start("run")
    vermas_wait(site.stuck, 30)
    agent = site.session(1)["agent_pid"]
    old = dict(line.split("=", 1) for line in Path(f"/proc/{agent}/environ").read_text().split("\0") if "=" in line)
    where = os.readlink(f"/proc/{agent}/cwd")
    os.kill(agent, signal.SIGKILL)
    vermas_wait(lambda: site.session(2), 30)
    for verb in (["done"], ["handoff", "-m", "x"], ["signal", "Stop"], ["done", "--exit", "escalated"]):
        stale = subprocess.run([*VERMAS, *verb], cwd=where, env=old, capture_output=True, text=True, check=False)
        assert stale.returncode == 8 and "p1-1 is over" in stale.stderr, stale.stderr
    forged = {**old, "VERMAS_SESSION_NO": "2"}
    stale = subprocess.run([*VERMAS, "done"], cwd=where, env=forged, capture_output=True, text=True, check=False)
    assert stale.returncode == 8 and "token" in stale.stderr
    assert site.fleet.query("SELECT count(*) FROM submissions") == [(0,)]
    Path(where, "go").touch()
    out, err = run.communicate(timeout=90)
    assert run.returncode == 0, out + err
    site.insist_single()


def test_many_slings_at_once_claim_each_bead_once(fleet: Fleet, tmp_path: Path) -> None:
    fleet.rig(agent=[sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    beads = [fleet.bead(f"Bead {number}") for number in range(4)]
    slings = [fleet.start("sling", beads[number % 4]) for number in range(32)]
    ended = [(sling.communicate(timeout=110), sling.returncode) for sling in slings]
    assert sorted(code for _, code in ended) == [0] * 4 + [8] * 28, [text for text, code in ended if code not in (0, 8)]
    assert fleet.query("SELECT bead_id, count(*) FROM polecats GROUP BY bead_id ORDER BY bead_id") == [(bead, 1) for bead in sorted(beads)]
    assert len(set(fleet.query("SELECT slot FROM polecats"))) == 4
    assert fleet.query("SELECT count(*) FROM sessions") == [(4,)]
    agents = list(marked([f"VERMAS_SESSION={fleet.town.id}/".encode()]))
    assert len(agents) == 4


def _holder(site: Site) -> int:
    text = Path(site.fleet.town.rig_lock("app")).read_text()
    return int(next(iter(re.findall(r'"pid": (\d+)', text)), 0))  # empty for a moment while the next holder writes itself in


def _rig_is_held(site: Site) -> bool:
    status = subprocess.run(["flock", "-n", site.fleet.town.rig_lock("app"), "true"], check=False)
    return status.returncode != 0
