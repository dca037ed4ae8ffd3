"""What is true of a session: the supervisor's lock and exit record first, the runtime where those cannot tell."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable

from vermas.lifecycle.site import Site, sandbox_of, session_of
from vermas.lifecycle.spawn import SessionPaths
from vermas.processes import ExitRecord, lock_held, read_exit, read_record
from vermas.store import polecats
from vermas.types import AgentEvent, Evidence, Observation, Polecat

_LOCAL = "local"


def ask_runtimes(site: Site, rows: Iterable[tuple[sqlite3.Row, sqlite3.Row]]) -> dict[str, Observation]:
    """One look of each driver at all of its sessions, by session id."""
    handles = [handle for _, session in rows if (handle := session_of(session)) is not None]
    return site.hooks.session_observe(handles) if handles else {}


def truth(site: Site, polecat: Polecat, session: sqlite3.Row, seen: Observation | None) -> Observation:
    """The state of a session. `seen` is the runtime's word, when it was asked in this pass.

    On this machine the supervisor decides: its exit record, then its lock. A free lock without an exit record means that the
    supervisor has not started yet or was killed: then the runtime's `gone` or `exited` is believed, or the boot that has passed since.
    """
    files = SessionPaths(polecat)
    record = read_exit(files.exit)
    if record is not None:
        return Observation(state="exited", exit_code=record.code, signal=record.signal, output_bytes=seen.output_bytes if seen else None)
    if polecat.slot.place != _LOCAL:
        return seen or Observation(state="unknown", why="not asked yet")
    if lock_held(site.town.session_lock(polecat.id)):
        return Observation(state="alive", output_bytes=seen.output_bytes if seen else None, attached=seen.attached if seen else False)
    record = read_exit(files.exit)  # it may have ended between the two looks
    if record is not None:
        return Observation(state="exited", exit_code=record.code, signal=record.signal)
    if session["boot_id"] != polecats.boot_id():
        return Observation(state="gone", why="the machine was restarted")
    if read_record(files.record) is not None:
        return Observation(state="gone", why="its supervisor was killed")
    if seen is None:
        return Observation(state="unknown", why="its supervisor has not started yet")
    if seen.state == "alive":
        return Observation(state="unknown", why="its supervisor has not started yet")
    return Observation(state="gone", why=seen.why or "the runtime has no such session") if seen.state != "unknown" else seen


def exit_of(polecat: Polecat) -> ExitRecord | None:
    """The exit record of the polecat's present session."""
    return read_exit(SessionPaths(polecat).exit)


def work_mark(row: sqlite3.Row) -> str:
    """A cheap mark of a sandbox's work that changes with each commit: read from files, no process is started. "" when unreadable."""
    sandbox = sandbox_of(row)
    if sandbox is None:
        return ""
    try:
        git_dir = os.path.join(sandbox.path, ".git")
        if os.path.isfile(git_dir):
            with open(git_dir, encoding="utf-8") as file:
                git_dir = os.path.join(sandbox.path, file.read(4096).removeprefix("gitdir:").strip())
        log = os.stat(os.path.join(git_dir, "logs", "HEAD"))
    except (OSError, UnicodeDecodeError):
        return ""
    return f"{log.st_size}"


def note_progress(site: Site, row: sqlite3.Row) -> None:
    """Reset the restart budgets when the polecat has committed since the last look."""
    mark = work_mark(row)
    if mark and mark != row["work_mark"]:
        with site.store.write() as db:
            if row["work_mark"]:
                polecats.progressed(db, row["id"], row["bead_id"], mark, row["session_no"])
            else:
                polecats.update(db, row["id"], work_mark=mark)


def evidence(site: Site, row: sqlite3.Row, polecat: Polecat, session: sqlite3.Row, seen: Observation) -> Evidence:
    """The record on which policies judge."""
    db = site.store.read
    age = polecats.age_s(session["boot_id"], session["decided_mono"])
    now = time.monotonic()
    events = tuple(
        AgentEvent(name=line["name"], age_s=max(0.0, now - line["mono"]), session_no=line["session_no"], data=json.loads(line["data"]))
        for line in polecats.signals(db, row["id"], row["session_no"])
    )
    marks = [age, *(event.age_s for event in events[-1:])]
    if session["progress_mono"] is not None:
        marks.append(polecats.age_s(session["boot_id"], session["progress_mono"]))
    record = exit_of(polecat)
    return Evidence(
        polecat_id=row["id"],
        session_no=row["session_no"],
        observation=seen,
        age_s=age,
        idle_s=min(marks),
        acknowledged=session["ready"] == "process" or session["acked_mono"] is not None,
        ready_deadline_s=session["ready_deadline_s"],
        progressed=session["progress_mono"] is not None,
        submitted=session["finished"] == "done",
        stopped_by=session["stopped_by"] or (record.stopped_by if record else ""),
        start_error=session["start_error"] or (record.error if record else ""),
        events=events,
        output_tail=session["tail"],
    )
