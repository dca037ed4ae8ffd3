"""What an operator wants of a polecat, written as desired state with its event; the reconciler makes it true."""

from __future__ import annotations

import sqlite3

from vermas.errors import Conflict
from vermas.store import events, incidents, polecats, submissions


def stop(db: sqlite3.Connection, row: sqlite3.Row, *, why: str = "stopped by hand") -> None:
    """End its session and keep everything else."""
    polecats.update(db, row["id"], want="stop", reason=why, restart=0, failures=0, hold_boot="")
    _asked(db, row, "stop", why)


def restart(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Go on: land a submission that a human had to look at, else start a new session. Budgets start anew."""
    waiting = [line for line in submissions.of_polecat(db, row["id"]) if line["session_no"] == row["session_no"]]
    if row["want"] == "gone":
        raise Conflict(f"{row['id']} is being removed ({row['reason']})")
    if row["submitted"]:
        raise Conflict(f"{row['id']} has submitted its work, which is being landed: see `vermas why {row['id']}`")
    if waiting and waiting[-1]["state"] == "held":
        submissions.update(db, waiting[-1]["id"], state="queued", candidate="", failures=0, retry_boot="", ended_at=None)
        polecats.update(db, row["id"], want="run", reason="", submitted=1, failures=0, hold_boot="")
        what = "land again"
    else:
        polecats.update(db, row["id"], want="run", reason="", restart=1, failures=0, hold_boot="")
        what = "restart"
    db.execute("UPDATE sessions SET counted = 0 WHERE bead_id = ?", (row["bead_id"],))
    incidents.close_of(db, polecat_id=row["id"])
    _asked(db, row, what, "")


def nuke(db: sqlite3.Connection, row: sqlite3.Row, *, force: bool) -> None:
    """End it and free its slot; its work goes into the vault first, its bead back to ready. A working one needs `force`."""
    _insist_idle(db, row, force, "nuke")
    _withdraw(db, row)
    polecats.update(db, row["id"], want="gone", reason="nuked", outcome=row["outcome"] or "nuked", submitted=0, failures=0, hold_boot="")
    _asked(db, row, "nuke", "")


def destroy(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    """End it and delete its work without keeping anything."""
    _withdraw(db, row)
    polecats.update(db, row["id"], want="gone", destroy=1, reason="destroyed", outcome="destroyed", submitted=0, failures=0, hold_boot="")
    _asked(db, row, "destroy", "")


def _insist_idle(db: sqlite3.Connection, row: sqlite3.Row, force: bool, verb: str) -> None:
    session = polecats.session(db, row["id"], row["session_no"])
    if not force and session is not None and session["state"] != "ended" and row["want"] == "run":
        raise Conflict(f"{row['id']} is at work on {row['bead_id']}: `vermas polecat stop {row['id']}` first, or {verb} --force")


def _withdraw(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    for line in submissions.of_polecat(db, row["id"]):
        if line["state"] in ("queued", "checking"):
            submissions.update(db, line["id"], state="withdrawn")
        elif line["state"] == "green":
            raise Conflict(f"the work of {row['id']} passed and is being pushed right now: try again in a moment")


def _asked(db: sqlite3.Connection, row: sqlite3.Row, want: str, why: str) -> None:
    events.append(
        db,
        rig=row["rig"],
        kind="asked",
        bead_id=row["bead_id"],
        polecat_id=row["id"],
        session_no=row["session_no"],
        want=want,
        why=why,
        by="operator",
    )
