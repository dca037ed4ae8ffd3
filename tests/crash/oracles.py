"""What must be true whatever was killed, seen without VerMAS: sqlite3, git, /proc, flock.

Each oracle yields sentences that say what is wrong. The names I1, I2… are those of `docs/reliability.md`.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from vermas.testing.reaper import marked
from vermas.testing.town import git

from .world import RIG, Ledger, World


def violations(world: World, ledger: Ledger, *, repeated: bool = False) -> list[str]:
    """Everything that is wrong now, whichever verb was killed; `repeated` leaves out what a repeated verb cannot have made worse."""
    found = [f"{name}: {wrong}" for name, oracle in ORACLES.items() for wrong in oracle(world) if not repeated or oracle is not _git]
    return found + [f"I2 nothing lost: {wrong}" for wrong in _lost(world, ledger)]


def held(path: Path) -> bool:
    """Whether some process holds a lock file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _slots(world: World) -> Iterator[str]:
    for row in world.rows("SELECT slot, count(*) AS n FROM polecats WHERE gone = 0 GROUP BY rig, slot HAVING n > 1"):
        yield f"{row['n']} polecats in {row['slot']}"
    living = {row["id"]: row["slot"] for row in world.rows("SELECT id, slot FROM polecats WHERE gone = 0")}
    polecats = world.town / RIG / "polecats"
    for slot in polecats.iterdir() if polecats.exists() else ():
        for entry in slot.iterdir():
            owner = next((name for name, place in living.items() if place == slot.name), None)
            if owner is None:
                yield f"{slot.name} is free and holds {entry.name}"
            elif entry.name not in (RIG, f".{owner}"):
                yield f"{slot.name} of {owner} holds {entry.name}"


def _beads(world: World) -> Iterator[str]:
    main = git(world.origin, "rev-list", "main").split()
    for bead in world.rows("SELECT id, status, assignee FROM beads"):
        living = world.rows("SELECT id, slot FROM polecats WHERE bead_id = ? AND gone = 0", bead["id"])
        landed = world.rows("SELECT landed_sha FROM submissions WHERE bead_id = ? AND state = 'landed'", bead["id"])
        if len(living) > 1 or len(landed) > 1:
            yield f"{bead['id']} has {len(living)} polecats and landed {len(landed)} times"
        if bead["status"] == "hooked" and (not living or bead["assignee"] != f"{RIG}/polecats/{living[0]['slot']}"):
            yield f"{bead['id']} is hooked to {bead['assignee']!r}, its polecats are {[row['id'] for row in living]}"
        if bead["status"] == "open" and (living or bead["assignee"]):
            yield f"{bead['id']} is open with {[row['id'] for row in living]} assigned to {bead['assignee']!r}"
        if bead["status"] == "closed" and not landed:
            yield f"{bead['id']} is closed and nothing landed"
        if bead["status"] not in ("open", "hooked", "closed"):
            yield f"{bead['id']} is {bead['status']}"
        for row in landed:
            if bead["status"] != "closed" or row["landed_sha"] not in main:
                yield f"{bead['id']} ({bead['status']}) landed as {row['landed_sha']}, which is not on main"


def _sessions(world: World) -> Iterator[str]:
    doubles = world.log / "doubles"
    if doubles.exists():
        yield f"a second process tree was started: {doubles.read_text().split()}"
    tags = set()
    for pid in set(marked([world.tag.encode()])) - {process.pid for process in world.bystanders}:
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        tags |= {entry.decode() for entry in environ if entry.startswith(world.tag.encode())}
    if len(tags) > 1:
        yield f"sessions {sorted(tags)} live beside each other"
    starts = _lines(world.log / "starts")
    if len(set(starts)) != len(starts):
        yield f"an agent was started twice in one session: {starts}"


def _orphans(world: World) -> Iterator[str]:
    live = {
        f"{row['polecat_id']}/{row['session_no']}": row
        for row in world.rows("SELECT s.* FROM sessions s JOIN polecats p ON p.id = s.polecat_id WHERE s.state = 'running' AND p.gone = 0")
    }
    for name in live:
        if not held(world.town / ".vermas" / "sessions" / f"{name.partition('/')[0]}.lock"):
            yield f"session {name} runs and nobody holds its lock"
    for pid in world.processes():
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        tagged = any(f"{world.tag}{name}".encode() + b"\0" in environ + b"\0" for name in live)
        if not tagged and not (live and ("shim" in command or "host" in command)):
            yield f"process {pid} belongs to no session: {command[:200]}"


def _target(world: World) -> Iterator[str]:
    for commit in git(world.origin, "rev-list", "--first-parent", "main").split():
        if "red.txt" in git(world.origin, "ls-tree", "-r", "--name-only", commit).split():
            yield f"commit {commit} on main fails the check"
    passed = {row["tree"] for row in world.rows("SELECT tree FROM passes")}
    first, *_ = reversed(git(world.origin, "rev-list", "--first-parent", "main").split())
    for commit in git(world.origin, "rev-list", "--first-parent", f"{first}..main").split():
        if git(world.origin, "rev-parse", f"{commit}^{{tree}}") not in passed:
            yield f"commit {commit} is on main and no pass of its tree is on record"


def _database(world: World) -> Iterator[str]:
    answer = world.rows("PRAGMA integrity_check")[0][0]
    if answer != "ok":
        yield str(answer)
    for row in world.rows("SELECT polecat_id, count(*) AS n FROM sessions WHERE counted = 1 GROUP BY polecat_id HAVING n > 5"):
        yield f"{row['polecat_id']} was started {row['n']} times"
    for row in world.rows("SELECT id, state FROM submissions WHERE state = 'held'"):
        yield f"submission {row['id']} is held for a human"
    yield from _history(world)


def _history(world: World) -> Iterator[str]:
    """Replay the events: each polecat goes through its life in order and through each unrepeatable step once."""
    order = {"claimed": 0, "sandbox-made": 1, "session-decided": 2, "rescued": 8, "freed": 9}
    once = ("claimed", "sandbox-made", "landed", "rescued", "freed", "no-change")
    for polecat in world.rows("SELECT id FROM polecats"):
        kinds = [row["kind"] for row in world.rows("SELECT kind FROM events WHERE polecat_id = ? ORDER BY seq", polecat["id"])]
        steps = [order[kind] for kind in kinds if kind in order]
        if steps != sorted(steps) or steps[:1] != [0]:
            yield f"the life of {polecat['id']} is out of order: {kinds}"
        for kind in once:
            if kinds.count(kind) > 1:
                yield f"{polecat['id']} was {kind} {kinds.count(kind)} times"
    ends = "SELECT polecat_id, session_no, count(*) AS n FROM events WHERE kind = 'session-ended' GROUP BY 1, 2 HAVING n > 1"
    for row in world.rows(ends):
        yield f"session {row['polecat_id']}-{row['session_no']} ended {row['n']} times"


def _git(world: World) -> Iterator[str]:
    for name, repository in (("vault", world.vault), ("origin", world.origin)):
        done = subprocess.run(["git", "-C", repository, "fsck", "--no-dangling"], capture_output=True, text=True, check=False)
        complaints = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("notice:")]
        if done.returncode != 0 or complaints:
            yield f"fsck of the {name}: {complaints}"
    for repository in (world.vault, world.origin, world.yard):
        for lock in repository.rglob("*.lock"):
            yield f"{lock} is left"
    git(world.yard, "worktree", "list")


def _locks(world: World) -> Iterator[str]:
    lock = world.town / ".vermas" / "locks" / f"{RIG}.lock"
    if held(lock):
        yield f"{lock} is held"


def _strangers(world: World) -> Iterator[str]:
    for process in world.bystanders:
        if process.poll() is not None:
            yield f"a process that belongs to nobody here was killed: {process.args!r}"


def _canaries(world: World) -> Iterator[str]:
    for path in world.base.rglob("canary*"):
        yield f"text was executed: {path}"


def _lost(world: World, ledger: Ledger) -> Iterator[str]:
    reachable: set[str] = set()
    for repository in (world.vault, world.origin, world.yard):
        if not ledger.commits | ledger.blobs <= reachable:
            reachable |= {line.split()[0] for line in git(repository, "rev-list", "--objects", "--all").splitlines()}
    if world.sandbox.exists() and not ledger.blobs <= reachable:
        reachable |= world.ledger().blobs
    for commit in sorted(ledger.commits - reachable):
        yield f"commit {commit}"
    for blob in sorted(ledger.blobs - reachable):
        yield f"the file with content {blob}"


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def report(text: str) -> dict[str, object]:
    """What `settle` printed last, {} when it printed none."""
    lines = [line for line in text.splitlines() if line.startswith('{"quiet"')]
    return dict(json.loads(lines[-1])) if lines else {}


ORACLES = {
    "I1 slots": _slots,
    "I3 beads": _beads,
    "I4 sessions": _sessions,
    "I4 orphans": _orphans,
    "I3 target": _target,
    "I6 I10 database": _database,
    "I10 git": _git,
    "I9 locks": _locks,
    "I17 strangers": _strangers,
    "I12 canaries": _canaries,
}
