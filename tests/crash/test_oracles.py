"""The oracles see what they are there to see."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable

import pytest

from vermas.testing.town import git

from .oracles import violations
from .world import RIG, World


def _untracked_gone(world: World) -> None:
    (world.sandbox / "new" / "untracked.txt").unlink()


def _commit_gone(world: World) -> None:
    shutil.rmtree(world.sandbox)
    git(world.yard, "update-ref", "-d", git(world.yard, "for-each-ref", "--format=%(refname)", "refs/heads/polecat"))


def _slot_not_empty(world: World) -> None:
    (world.town / RIG / "polecats" / "slot1" / RIG).mkdir(parents=True)


def _sql(statement: str) -> Callable[[World], None]:
    def change(world: World) -> None:
        with sqlite3.connect(world.town / ".vermas" / "town.db") as db:
            db.execute(statement)
        db.close()

    return change


def _red_on_main(world: World) -> None:
    blob = git(world.origin, "hash-object", "-w", "--stdin", stdin=b"red")
    tree = git(world.origin, "mktree", stdin=f"100644 blob {blob}\tred.txt\n".encode())
    git(world.origin, "update-ref", "refs/heads/main", git(world.origin, "commit-tree", tree, "-p", "main", "-m", "red"))


def _object_corrupt(world: World) -> None:
    path = next(path for path in world.origin.glob("objects/*/*") if path.is_file())
    path.chmod(0o600)
    path.write_bytes(b"x")


def _lock_file_left(world: World) -> None:
    (world.vault / "refs" / "x.lock").touch()


def _canary(world: World) -> None:
    (world.town / "canary").touch()


def _double(world: World) -> None:
    (world.log / "doubles").write_text("p1/1\n")


@pytest.mark.parametrize(
    ("tamper", "name"),
    [
        (_untracked_gone, "I2"),
        (_commit_gone, "I2"),
        (_slot_not_empty, "I1"),
        (_sql("UPDATE beads SET status = 'open'"), "I3 beads"),
        (_sql("UPDATE beads SET status = 'closed'"), "I3 beads"),
        (_sql("UPDATE sessions SET state = 'running'"), "I4 orphans"),
        (_sql("INSERT INTO events SELECT seq + 1000, at, rig, kind, bead_id, polecat_id, session_no, data FROM events"), "I6 I10"),
        (_red_on_main, "I3 target"),
        (_object_corrupt, "I10 git"),
        (_lock_file_left, "I10 git"),
        (_canary, "I12"),
        (_double, "I4 sessions"),
    ],
)
def test_what_is_wrong_is_seen(world: World, tamper: Callable[[World], None], name: str) -> None:
    world.restore("dirty")
    ledger = world.ledger_of("dirty")
    assert violations(world, ledger) == []
    tamper(world)
    assert any(text.startswith(name) for text in violations(world, ledger)), violations(world, ledger)


def test_a_process_that_is_left_is_seen(world: World) -> None:
    world.restore("dirty")
    name, _, tag = f"{world.tag}p1/1".partition("=")
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, name: tag}) as process:
        assert any("belongs to no session" in text for text in violations(world, world.ledger_of("dirty")))
        process.kill()


def test_a_lock_that_is_held_is_seen(world: World) -> None:
    world.restore("dirty")
    fd = os.open(world.town / ".vermas" / "locks" / f"{RIG}.lock", os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        assert any(text.startswith("I9") for text in violations(world, world.ledger_of("dirty")))
    finally:
        os.close(fd)


def test_a_killed_bystander_is_seen(world: World) -> None:
    world.restore("dirty")
    world.bystanders[1].kill()
    world.bystanders[1].wait()
    assert any(text.startswith("I17") for text in violations(world, world.ledger_of("dirty")))
    world.bystanders[1] = subprocess.Popen(["sleep", "100000"], cwd="/")
