"""The end of a session and the end of a polecat. Work is read back from the vault before anything is removed."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time

from vermas.errors import Unsupported, VermasError
from vermas.lifecycle import observe
from vermas.lifecycle.environment import tag
from vermas.lifecycle.site import Site, sandbox_of, session_of
from vermas.lifecycle.spawn import SessionPaths
from vermas.processes import read_record, sweep, terminate
from vermas.store import beads, incidents, polecats, submissions
from vermas.types import Observation, Sandbox

GRACE_S = 5.0
_KEPT_ARCHIVES = 200
_TAIL_BYTES = 4000
_POLECAT = re.compile(r"p[0-9]+")


def stop_session(site: Site, row: sqlite3.Row, session: sqlite3.Row, *, why: str) -> None:
    """End the present session's process tree: by its runtime, and by its supervisor's record where the runtime fails."""
    with site.store.write() as db:
        polecats.update_session(db, row["id"], row["session_no"], stopped_by=why)
    handle = session_of(session)
    try:
        if handle is not None:
            site.hooks.session_stop(handle, GRACE_S)
            return
    except VermasError:
        pass  # already recorded; what follows does not need the runtime
    record = read_record(SessionPaths(site.polecat(row)).record)
    if record is not None:
        terminate(record, GRACE_S)


def end_session(site: Site, row: sqlite3.Row, session: sqlite3.Row, seen: Observation) -> bool:
    """Record that a session is over. Leftovers of a killed supervisor are ended first; False when some could not be."""
    polecat = site.polecat(row)
    record = observe.exit_of(polecat)
    if record is None or record.survivors:
        left = sweep(tag(site.rig, row["id"], row["session_no"]), GRACE_S)
        if left:
            with site.store.write() as db:
                body = f"processes {left} do not end; nothing else is started for this polecat"
                site.call_human(db, row, key="survivors", severity="high", title=f"{row['bead_id']}: processes survive", body=body)
            return False
    usage = site.hooks.agent_usage(polecat, observe.evidence(site, row, polecat, session, seen))
    tail = "" if session["finished"] else _tail(site, session)
    same_boot = session["boot_id"] == polecats.boot_id()
    with site.store.write() as db:
        polecats.update_session(
            db,
            row["id"],
            row["session_no"],
            state="ended",
            ended_at=time.time(),
            exit=str(seen.exit_code if seen.exit_code is not None else f"signal {seen.signal}" if seen.signal else seen.state),
            counted=session["counted"] if same_boot else 0,
            tail=tail,
        )
        site.record(
            db,
            "session-ended",
            row,
            code=seen.exit_code,
            signal=seen.signal,
            why=seen.why,
            tail=tail,
            stopped_by=session["stopped_by"] or (record.stopped_by if record else ""),
            cpu_s=record.cpu_s if record else None,
            usage=None
            if usage is None
            else {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "cost_usd": usage.cost_usd},
        )
    return True


def _tail(site: Site, session: sqlite3.Row) -> str:
    """The end of what a session printed, when its runtime still has it."""
    handle = session_of(session)
    if handle is None:
        return ""
    try:
        return site.hooks.session_read(handle, -_TAIL_BYTES, _TAIL_BYTES).data.decode("utf-8", "replace")
    except (VermasError, Unsupported):
        return ""


def rescue(site: Site, row: sqlite3.Row, sandbox: Sandbox) -> None:
    """Put the whole work of a sandbox into the vault and read it back. Raises, and so keeps everything, when that fails."""
    sha = _snapshot(site, row, sandbox)
    pinned = [line for line in submissions.of_polecat(site.store.read, row["id"]) if line["commit_sha"] == sha]
    ref = f"refs/vermas/submitted/{row['id']}/{pinned[-1]['session_no']}" if pinned else ""
    if sha and not pinned:
        number = 1 + len(site.vault.refs(f"refs/vermas/rescue/{row['id']}/"))
        ref = f"refs/vermas/rescue/{row['id']}/{number}"
        site.vault.fetch(_sources(site, sandbox), sha, ref)
        if site.vault.resolve(ref) != sha:
            raise VermasError(f"{ref} does not read back as {sha}: nothing was removed")
    with site.store.write() as db:
        polecats.update(db, row["id"], rescued=sha or "nothing")
        site.record(db, "rescued", row, commit=sha, ref=ref)


def _snapshot(site: Site, row: sqlite3.Row, sandbox: Sandbox) -> str:
    if os.path.isdir(sandbox.path):
        return site.hooks.sandbox_snapshot(sandbox)
    site.note("sandbox-lost", row, path=sandbox.path, why="the checkout is gone; the branch in the yard is what is left")
    return site.yard.ref(f"refs/heads/{sandbox.branch}") or ""


def _sources(site: Site, sandbox: Sandbox) -> tuple[str, str]:
    """A clone has its own objects; those of a worktree are in the yard, also when its way there is broken."""
    return (sandbox.path, site.rig.yard)


def remove(site: Site, row: sqlite3.Row) -> None:
    """Remove a rescued sandbox, keep the polecat's own files in the archive, free the slot and settle the bead."""
    sandbox = sandbox_of(row) or _unrecorded(site, row)
    if sandbox is not None:
        site.hooks.sandbox_remove(sandbox)
    site.vault.tidy(f"refs/vermas/submitted/{row['id']}")
    polecat = site.polecat(row)
    _archive(site, polecat.home, row["id"])
    with site.store.write() as db:
        polecats.update(db, row["id"], gone=1)
        polecats.relocate_handles(db, row["id"], polecat.home, os.path.join(site.town.archive, row["id"]))
        bead = beads.get(db, row["bead_id"])
        if bead is not None and bead["status"] == "hooked" and bead["assignee"] == polecat.actor:
            beads.set_status(db, row["bead_id"], "open", assignee="")
        incidents.close_of(db, polecat_id=row["id"])
        site.record(db, "freed", row, slot=row["slot"], outcome=row["outcome"] or row["reason"])
    site.hooks.release(polecat.slot)


def _unrecorded(site: Site, row: sqlite3.Row) -> Sandbox | None:
    """The sandbox of a polecat that ended while it was made: completed, so that it can be removed. One that cannot be made is nothing."""
    if not row["base_sha"]:
        return None
    try:
        return site.hooks.sandbox_create(site.polecat(row), row["base_sha"])
    except VermasError:
        return None  # reported already


def _archive(site: Site, home: str, polecat_id: str) -> None:
    target = os.path.join(site.town.archive, polecat_id)
    if os.path.isdir(home):
        os.makedirs(site.town.archive, mode=0o700, exist_ok=True)
        if os.path.isdir(target):
            shutil.rmtree(target)
        os.rename(home, target)
    try:
        os.unlink(site.town.session_lock(polecat_id))
    except FileNotFoundError:
        pass
    # removed rigs lie here too, with all their work: only the homes of polecats ever expire
    kept = sorted((name for name in os.listdir(site.town.archive) if _POLECAT.fullmatch(name)), key=lambda name: int(name[1:]))
    for name in kept[:-_KEPT_ARCHIVES]:
        shutil.rmtree(os.path.join(site.town.archive, name), ignore_errors=True)
