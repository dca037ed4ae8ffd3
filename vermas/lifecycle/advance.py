"""The next effect for one polecat: compare what is wanted with what is true, do one idempotent thing, or say what is waited for."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from vermas.calls import PluginTimeout
from vermas.errors import VermasError
from vermas.lifecycle import ending, observe, spawn, supervise
from vermas.lifecycle.site import Site, sandbox_of
from vermas.processes import lock_held
from vermas.store import beads, polecats
from vermas.types import Observation

#: How long an agent that has called `done` or `handoff` may take to end by itself.
FINISH_S = 3.0
_RETRY_S = 1.0
#: So many failures in a row and a human is called; a run does not wait for such a polecat any more.
FAILURES = 5
_START_WAIT_S = 0.5
_LINGER_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do for this polecat now: `seconds` until it is worth another look (None: until something happens)."""

    seconds: float | None = None
    why: str = ""
    ask_runtime: bool = False


def advance(site: Site, polecat_id: str, seen: Observation | None) -> Wait | None:
    """Do at most one effect; None when there was one. A failing plugin costs this polecat a delay and, after a few times, calls a human."""
    row = polecats.get(site.store.read, polecat_id)
    if row is None or row["gone"]:
        return Wait(why="gone")
    try:
        wait = _step(site, row, _held_s(row), seen)
    except (VermasError, OSError) as error:
        return failed(site, row, error)
    if wait is None and row["failures"]:
        with site.store.write() as db:
            polecats.update(db, row["id"], failures=0)
    return wait


def _step(site: Site, row: sqlite3.Row, held_s: float, seen: Observation | None) -> Wait | None:
    if row["want"] == "run" and not row["submitted"] and _bead_is_over(site, row):
        return None
    session = polecats.session(site.store.read, row["id"], row["session_no"]) if row["session_no"] else None
    if session is not None and session["state"] == "starting":
        return _starting(site, row, session, held_s)
    if session is not None and session["state"] == "running":
        return _running(site, row, session, seen)
    return _idle(site, row, session, held_s)


def _starting(site: Site, row: sqlite3.Row, session: sqlite3.Row, held_s: float) -> Wait | None:
    """Start a decided session. Where the runtime fails at that, what the supervisor says counts: it began all the same, or never will."""
    failed, over = bool(row["failures"]), row["want"] != "run" or observe.exit_of(site.polecat(row)) is not None
    if failed and over:
        spawn.settle_start(site, row, session)
    elif failed and held_s:
        return Wait(seconds=held_s, why="start to be tried again")
    else:
        spawn.start_session(site, row, session)
    return None


def _bead_is_over(site: Site, row: sqlite3.Row) -> bool:
    """Somebody closed the bead meanwhile: its polecat is not needed any more, its work is kept."""
    bead = beads.get(site.store.read, row["bead_id"])
    if bead is not None and bead["status"] not in ("closed", "tombstone"):
        return False
    with site.store.write() as db:
        polecats.update(db, row["id"], want="gone", reason="its bead was closed", outcome="its bead was closed")
        site.record(db, "asked", row, want="end", by="the bead's status")
    return True


def _running(site: Site, row: sqlite3.Row, session: sqlite3.Row, seen: Observation | None) -> Wait | None:
    fact = observe.truth(site, site.polecat(row), session, seen)
    if fact.state in ("exited", "gone"):
        observe.note_progress(site, row)
        return None if ending.end_session(site, row, session, fact) else Wait(seconds=5.0, why="leftover processes do not end")
    if fact.state == "unknown":
        return Wait(seconds=_START_WAIT_S, why=fact.why, ask_runtime=True)
    if session["finished"]:
        left = FINISH_S - polecats.age_s(session["boot_id"], session["finished_mono"])
        return Wait(seconds=left, why="finishing") if left > 0 else _stop(site, row, session, session["finished"])
    if row["want"] != "run":
        return _stop(site, row, session, row["reason"] or row["want"])
    if row["restart"]:
        return _stop(site, row, session, "restart")
    observe.note_progress(site, row)
    if supervise.prompt(site, row, session):
        return None
    return None if supervise.judge(site, row, session, fact) else Wait(why="working", ask_runtime=True)


def _stop(site: Site, row: sqlite3.Row, session: sqlite3.Row, why: str) -> Wait | None:
    ending.stop_session(site, row, session, why=why)
    fact = observe.truth(site, site.polecat(row), session, Observation(state="gone", why="stopped"))
    if fact.state in ("exited", "gone"):
        return None
    raise VermasError(f"session {row['id']}-{row['session_no']} does not end ({fact.state} {fact.why})")


def _idle(site: Site, row: sqlite3.Row, session: sqlite3.Row | None, held_s: float) -> Wait | None:
    if row["want"] == "gone":
        return _end(site, row, held_s)
    if row["want"] == "stop":
        return Wait(why=row["reason"] or "stopped")
    if row["submitted"]:
        return Wait(why="submitted")
    if held_s:
        return Wait(seconds=held_s, why="waiting before the next try")
    if not row["sandbox"]:
        spawn.make_sandbox(site, row)
        return None
    if session is None or row["restart"]:
        if lock_held(site.town.session_lock(row["id"])):
            return Wait(seconds=_LINGER_S, why="the supervisor of its last session is ending")
        spawn.decide_session(site, row)
        return None
    ended = Observation(state="gone", why=session["exit"])
    fact = observe.truth(site, site.polecat(row), session, ended)
    return None if supervise.judge(site, row, session, fact) else Wait(why="its session is over; a human was called")


def _end(site: Site, row: sqlite3.Row, held_s: float) -> Wait | None:
    if held_s:
        return Wait(seconds=held_s, why="removal to be tried again")
    sandbox = sandbox_of(row)
    if sandbox is not None and not row["rescued"]:
        if row["destroy"]:
            with site.store.write() as db:
                polecats.update(db, row["id"], rescued="destroyed")
                site.record(db, "destroyed", row, path=sandbox.path)
        else:
            ending.rescue(site, row, sandbox)
        return None
    ending.remove(site, row)
    return None


def failed(site: Site, row: sqlite3.Row, error: Exception, *, trace: str = "") -> Wait:
    """Count the failure, wait longer each time, and call a human when it goes on. `trace` says where, when it is a bug."""
    failures = row["failures"] + 1
    delay = min(60.0, _RETRY_S * 2 ** (failures - 1))
    with site.store.write() as db:
        polecats.update(db, row["id"], failures=failures, hold_boot=polecats.boot_id(), hold_mono=time.monotonic() + delay)
        why, unknown = str(error) or type(error).__name__, isinstance(error, PluginTimeout)
        site.record(db, "effect-failed", row, why=why, failures=failures, retry_in_s=delay, unknown=unknown, traceback=trace)
        if failures >= FAILURES:
            body = f"{error}\nLook: vermas why {row['id']}"
            site.call_human(db, row, key="effect", severity="high", title=f"{row['bead_id']}: cannot go on", body=body)
            if row["want"] == "run" and (not row["handed"] or spawn.never_started(site, row)):
                polecats.update(db, row["id"], want="stop", reason=f"could not be started: {error}", failures=0, hold_boot="")
    return Wait(seconds=delay, why=str(error))


def _held_s(row: sqlite3.Row) -> float:
    if not row["hold_boot"] or row["hold_boot"] != polecats.boot_id():
        return 0.0
    return float(max(0.0, row["hold_mono"] - time.monotonic()))
