"""`vermas done` proves and pins the work of a session; `vermas handoff` passes it to the next one."""

from __future__ import annotations

import os
import sqlite3
import time

from vermas.cli.insession import Caller
from vermas.errors import Conflict, UsageError
from vermas.git import Repository, run, untrusted
from vermas.git.files import common_dir, git_dir, object_directories
from vermas.git.objects import commits_since
from vermas.store import polecats, submissions

_SHOWN = 10


def done(caller: Caller, how: str, no_change: str | None, message: str) -> int:
    """End this session's part: submit its commits, or say why there are none, or give the bead back."""
    if how not in ("completed", "escalated", "deferred"):
        raise UsageError(f"--exit is completed, escalated or deferred, not {how!r}")
    if no_change is not None and (how != "completed" or not no_change.strip()):
        raise UsageError("--no-change needs a reason and goes with --exit completed")
    already = _already(caller)
    if already:
        print(already)
        return 0
    if how != "completed":
        return _give_back(caller, how, message)
    sandbox = _own_sandbox(caller)
    head = _clean_head(caller, sandbox)
    commits = head != caller.row["base_sha"] and _new_commits(caller, sandbox, head)
    if no_change is not None:
        if commits:
            raise Conflict("there are commits on this branch: run `vermas done` without --no-change to submit them")
        return _nothing_to_do(caller, no_change)
    if not commits:
        raise Conflict('nothing is committed on this branch: commit your work, or run `vermas done --no-change "why"`')
    return _submit(caller, sandbox, head, message)


def handoff(caller: Caller, message: str) -> int:
    """Save a message for the next session of this polecat; the core ends this one and starts that."""
    with caller.store.write() as db:
        caller.prove(db)
        _finish(caller, db, "handoff", restart=1, brief=f"The session before you handed over with this note:\n\n{message}")
        caller.record(db, "handoff", message=message)
    caller.poke("done")
    print("handed over: the next session starts when this one ends; stop here")
    return 0


def _already(caller: Caller) -> str:
    if not caller.session["finished"]:
        return ""
    return f"this session has already ended its work ({caller.session['finished']}); stop here"


def _own_sandbox(caller: Caller) -> str:
    """The top of the checkout around the working directory, which must be the very directory that was made for this polecat."""
    wanted = (caller.row["device"], caller.row["inode"])
    path = os.path.realpath(os.getcwd())
    while True:
        here = os.stat(path)
        if (here.st_dev, here.st_ino) == wanted:
            return path
        parent = os.path.dirname(path)
        if parent == path:
            checkout = caller.town.checkout(caller.row["rig"], caller.row["slot"])
            raise Conflict(f"{os.getcwd()} is not in this polecat's checkout: cd {checkout} and run `vermas done` again")
        path = parent


def _git(caller: Caller, sandbox: str) -> dict[str, str]:
    directory = git_dir(sandbox)
    if directory is None:
        raise Conflict(f'{sandbox} has no git directory any more: run `vermas done --exit escalated -m "…"`')
    return untrusted(directory, caller.town.vault(caller.row["rig"]), common=common_dir(directory), work_tree=sandbox)


def _clean_head(caller: Caller, sandbox: str) -> str:
    """The commit that is checked out on the polecat's branch, with nothing uncommitted beside it."""
    status = run(
        None, "status", "--porcelain=v2", "--branch", "-z", "--ignore-submodules=dirty", env=_git(caller, sandbox), cwd=sandbox
    ).fields()
    head = next((line[13:] for line in status if line.startswith("# branch.oid ")), "")
    branch = next((line[14:] for line in status if line.startswith("# branch.head ")), "")
    if branch != caller.row["branch"]:
        raise Conflict(f"the checkout is on {branch!r}, not on {caller.row['branch']!r}: go back to it (your commits must be there)")
    dirty = [line for line in status if not line.startswith("# ")]
    if dirty:
        names = ", ".join(line.rsplit(" ", 1)[-1] for line in dirty[:_SHOWN])
        more = f" and {len(dirty) - _SHOWN} more" if len(dirty) > _SHOWN else ""
        raise Conflict(f"uncommitted: {names}{more}: commit what belongs to the work and remove the rest")
    return head


def _new_commits(caller: Caller, sandbox: str, head: str) -> bool:
    known = commits_since(object_directories(sandbox), caller.row["base_sha"], head)
    if known is not None:
        return known > 0
    counted = run(None, "rev-list", "--count", "-1", head, "--not", caller.row["base_sha"], "--", env=_git(caller, sandbox))
    return counted.text != "0"


def _submit(caller: Caller, sandbox: str, head: str, message: str) -> int:
    row = caller.row
    ref = f"refs/vermas/submitted/{caller.polecat_id}/{caller.session_no}"
    Repository(caller.town.vault(row["rig"])).fetch(sandbox, head, ref)
    with caller.store.write() as db:
        caller.prove(db)
        submission = submissions.insert(
            db,
            rig=row["rig"],
            bead_id=row["bead_id"],
            polecat_id=row["id"],
            session_no=caller.session_no,
            commit_sha=head,
            branch=row["branch"],
            base_sha=row["base_sha"],
            target=row["target"],
            actor=f"{row['rig']}/polecats/{row['slot']}",
            message=message,
        )
        _finish(caller, db, "done", submitted=1, brief="", merge_sha="")
        caller.record(db, "submitted", commit=head, submission=submission, message=message)
    caller.poke("done")
    print(f"submitted {head[:12]}; your part is done, stop here")
    return 0


def _nothing_to_do(caller: Caller, reason: str) -> int:
    from vermas.store import beads

    with caller.store.write() as db:
        caller.prove(db)
        beads.set_status(db, caller.row["bead_id"], "closed", close_reason=f"no change: {reason}")
        _finish(caller, db, "no-change", want="gone", outcome="no change", reason="no change")
        caller.record(db, "no-change", why=reason)
    caller.poke("done")
    print("closed without a change; your part is done, stop here")
    return 0


def _give_back(caller: Caller, how: str, message: str) -> int:
    from vermas.store import beads, incidents

    row = caller.row
    with caller.store.write() as db:
        caller.prove(db)
        caller.record(db, how, why=message)
        if how == "deferred":
            beads.set_status(db, row["bead_id"], "deferred", assignee="")
            _finish(caller, db, how, want="gone", outcome="deferred", reason="deferred by its agent")
        else:
            _finish(caller, db, how, want="stop", reason=f"escalated: {message or 'the agent asks for a human'}")
            opened = incidents.open_once(
                db,
                rig=row["rig"],
                key=f"{row['id']}:escalated-{caller.session_no}",
                severity="high",
                title=f"{row['bead_id']}: its agent asks for a human",
                body=f"{message}\nGo on: vermas polecat restart {row['id']}",
                polecat_id=row["id"],
                bead_id=row["bead_id"],
            )
            caller.record(db, "incident-opened", incident=opened, severity="high", title="its agent asks for a human")
    caller.poke("done")
    print(f"{how}; your part is done, stop here")
    return 0


def _finish(caller: Caller, db: sqlite3.Connection, how: str, **columns: object) -> None:
    """Nothing that this session does counts from here on: its end is no failure."""
    now = time.monotonic()
    acked = caller.session["acked_mono"] if caller.session["acked_mono"] is not None else now
    polecats.update_session(db, caller.polecat_id, caller.session_no, finished=how, finished_mono=now, acked_mono=acked)
    polecats.update(db, caller.polecat_id, **columns)
