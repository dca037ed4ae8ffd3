"""Machines that lack something: programs, space, permission to write, the town's old place."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vermas.testing.plugin import Wait
from vermas.town import Town

from .conftest import RUNTIMES, VERMAS, Desk, Fleet

Log = Callable[[Path], list[str]]


def one_line(fleet: Fleet, *words: str, expect: int) -> str:
    """The one line of a command that fails."""
    done = fleet.vermas(*words, expect=expect)
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("vermas: "), done.stderr
    return done.stderr


def only(fleet: Fleet, place: Path, *programs: str) -> None:
    """A PATH on which there are these programs and no other."""
    place.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (place / program).symlink_to(found)
    fleet.env["PATH"] = str(place)


def test_without_git(desk: Desk, fleet: Fleet, tmp_path: Path) -> None:
    origin = desk.rig()
    bead = desk.bead("One")
    only(fleet, tmp_path / "bin", "sh")
    for words in (["rig", "add", "new", str(origin)], ["run"], ["sling", bead]):
        assert "git is not installed" in one_line(fleet, *words, expect=6), words
    fleet.vermas("status")
    assert desk.status_of(bead) == "open"


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_without_tmux(desk: Desk, fleet: Fleet, tmp_path: Path, log: Log) -> None:
    desk.rig("a", "tmux")
    other = desk.rig("b", "process")
    desk.vermas("config", "set", "rigs.a.options.watchdog.backoff_base_s", "0.01")
    stays, _ = desk.bead("Stays", rig="a"), desk.bead("Lands", rig="b")
    only(fleet, tmp_path / "bin", "git", "sh")
    done = fleet.vermas("run", expect=9)
    assert "tmux is not installed" in done.stdout and log(other)[-1:] == ["first"] and len(log(other)) == 2
    assert fleet.kinds(stays).count("incident-opened") == 1
    assert "tmux is not installed" in fleet.vermas("doctor", expect=1).stdout


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_without_the_agents_program(desk: Desk, runtime: str) -> None:
    desk.rig(runtime=runtime, agent=["no-such-agent", "--go"])
    desk.vermas("config", "set", "rigs.app.options.watchdog.backoff_base_s", "0.01")
    bead = desk.bead("One")
    done = desk.vermas("run", expect=9)
    assert "no-such-agent" in done.stdout.splitlines()[-1]
    assert desk.kinds(bead).count("incident-opened") == 1
    assert "no-such-agent" in desk.vermas("doctor", expect=1).stdout


#: Run in namespaces of its own: the town is laid over by a small file system, which is filled, emptied, made read-only.
DISKS = """
import json, os, subprocess, sys
root, aside, vermas, scenario = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
filler = os.path.join(root, "filler")

def sh(*words):
    subprocess.run(words, check=True)

def fill():
    with open(filler, "wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2

sh("cp", "-a", root, aside)
sh("mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "none", root)
sh("cp", "-a", f"{aside}/.", root)
fill() if scenario == "full" else sh("mount", "-o", "remount,ro", root)
report = []
for words in json.loads(sys.argv[5]):
    done = subprocess.run([*vermas, "-C", root, *words], capture_output=True, text=True)
    report.append([words, done.returncode, done.stdout, done.stderr])
os.unlink(filler) if scenario == "full" else sh("mount", "-o", "remount,rw", root)
done = subprocess.run([*vermas, "-C", root, "run"], capture_output=True, text=True)
report.append([["run"], done.returncode, done.stdout, done.stderr])
sh("cp", "-a", f"{root}/.vermas/town.db", f"{aside}.db")
print(json.dumps(report))
"""
NAMESPACES = ["unshare", "-Urm", "--kill-child"]
permitted = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode != 0,
    reason="user and mount namespaces are not permitted here",
)


@permitted
@pytest.mark.parametrize("scenario", ["full", "read-only"])
def test_a_disk_that_is_full_or_read_only(fleet: Fleet, tmp_path: Path, log: Log, scenario: str) -> None:
    origin = fleet.rig()
    bead = fleet.bead("One")
    verbs = [
        ["bead", "create", "Two", "--rig", "app"],
        ["bead", "update", bead, "--title", "Changed"],
        ["config", "set", "defaults.max_polecats", "3"],
        ["rig", "add", "new", str(origin)],
        ["sling", bead],
        ["run"],
        ["status"],
        ["doctor", "--fix"],
    ]
    done = subprocess.run(
        [
            *NAMESPACES,
            sys.executable,
            "-c",
            DISKS,
            fleet.town.root,
            str(tmp_path / "aside"),
            json.dumps(VERMAS),
            scenario,
            json.dumps(verbs),
        ],
        capture_output=True,
        text=True,
        env=fleet.env,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    *during, after = json.loads(done.stdout)
    for words, code, out, err in during:
        assert err.count("\n") <= 1 and "Traceback" not in err, (words, err)
        if words[0] in ("status", "doctor"):
            assert code in (0, 1, 7), (words, code, err)
        else:
            assert code in (1, 6, 7) and out == "", (words, code, out)
            assert fleet.town.root in err and any(said in err for said in ("No space left", "disk is full", "ead-only")), (words, err)
    assert after[1] == 0, after
    assert len(log(origin)) == 2


def test_a_moved_town(desk: Desk, tmp_path: Path, vermas_wait: Wait) -> None:
    desk.rig()
    landed, free, half = (
        desk.bead("Landed"),
        desk.bead("Free"),
        desk.bead("Half", "write half.txt x", "first wait-for /nonexistent", "commit half", "done"),
    )
    desk.vermas("run", "--bead", landed)
    desk.vermas("sling", half)
    vermas_wait(Path(desk.town.checkout("app", "slot0"), "half.txt").exists, 20)
    desk.vermas("polecat", "stop", "p2")
    os.rename(desk.town.root, tmp_path / "elsewhere")
    moved = dataclasses.replace(desk, town=Town(tmp_path / "elsewhere"))
    for words in (["run"], ["sling", free], ["polecat", "restart", "p2"], ["polecat", "nuke", "p2"]):
        assert "vermas doctor --fix" in one_line(moved, *words, expect=8), words
    for words in (
        ["status"],
        ["log"],
        ["why", half],
        ["bead", "list"],
        ["bead", "create", "New"],
        ["polecat", "list"],
        ["polecat", "show", "p1"],
    ):
        moved.vermas(*words)
    moved.vermas("doctor", expect=1)
    moved.vermas("doctor", "--fix")
    assert "half.txt" in moved.json("polecat", "show", "p2")["sandbox"] or "1 " in moved.json("polecat", "show", "p2")["sandbox"]
    moved.vermas("polecat", "read", "p1")
    moved.vermas("polecat", "restart", "p2")
    moved.vermas("run")
    assert {bead["status"] for bead in moved.json("bead", "list", "--all")} == {"closed"}
