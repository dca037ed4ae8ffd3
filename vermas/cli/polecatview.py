"""A polecat as data, for the verbs that show one."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from vermas.config import load
from vermas.errors import VermasError
from vermas.git import Repository
from vermas.lifecycle.opening import open_site
from vermas.lifecycle.site import actor, sandbox_of
from vermas.store import Store, beads, polecats, submissions
from vermas.town import Town

_SHOWN_COMMITS = 20


def view(store: Store, row: sqlite3.Row) -> dict[str, Any]:
    """A polecat as data."""
    session = polecats.session(store.read, row["id"], row["session_no"])
    bead = beads.get(store.read, row["bead_id"])
    return {
        "id": row["id"],
        "rig": row["rig"],
        "actor": actor(row["rig"], row["slot"]),
        "slot": row["slot"],
        "bead": row["bead_id"],
        "title": bead["title"] if bead is not None else "",
        "agent": row["agent"],
        "state": state(store, row, session),
        "why": row["reason"] or row["outcome"],
        "session_no": row["session_no"],
        "branch": row["branch"],
        "base": row["base_sha"],
        "rescued": row["rescued"],
        "age_s": round(max(0.0, time.time() - row["created_at"]), 1),
    }


def state(store: Store, row: sqlite3.Row, session: sqlite3.Row | None) -> str:
    """One word for what a polecat is doing."""
    if row["gone"]:
        return "gone"
    if row["want"] == "gone":
        return "removing"
    if row["submitted"]:
        waiting = [line for line in submissions.of_polecat(store.read, row["id"]) if line["state"] in ("queued", "checking", "green")]
        return {"queued": "submitted", "checking": "checking", "green": "landing"}[waiting[-1]["state"]] if waiting else "submitted"
    if row["want"] == "stop":
        return "stopped" if session is None or session["state"] == "ended" else "stopping"
    if session is None:
        return "preparing"
    if session["state"] == "ended":
        return "restarting"
    return "starting" if session["state"] == "starting" else "working"


def sandbox_state(town: Town, row: sqlite3.Row) -> str:
    """What a look at the checkout shows, in words."""
    sandbox = sandbox_of(row)
    if sandbox is None or row["gone"]:
        return "none"
    try:
        seen = open_site(town, load(town), row["rig"]).hooks.sandbox_inspect(sandbox)
    except VermasError as error:  # the rest is worth showing all the same
        return f"unknown; {error}"
    return "; ".join((seen.kind, *seen.evidence))


def session_lines(store: Store, row: sqlite3.Row) -> list[dict[str, object]]:
    return [
        {
            "no": s["session_no"],
            "state": s["state"],
            "driver": s["driver"],
            "exit": s["exit"],
            "stopped_by": s["stopped_by"],
            "start_error": s["start_error"],
        }
        for s in polecats.sessions(store.read, row["id"])
    ]


def submission_lines(store: Store, row: sqlite3.Row) -> list[dict[str, object]]:
    keys = ("id", "commit_sha", "attempt", "state", "reasons", "landed_sha")
    return [{key: line[key] for key in keys} for line in submissions.of_polecat(store.read, row["id"])]


def commit_lines(town: Town, row: sqlite3.Row) -> list[dict[str, object]]:
    """The newest commits of a polecat's submitted or rescued work, with what they change, from the vault."""
    tips = [row["rescued"]] if row["rescued"] not in ("", "nothing", "destroyed") else []
    store = Store(town.db)
    tips += [line["commit_sha"] for line in submissions.of_polecat(store.read, row["id"])]
    if not tips or not row["base_sha"]:
        return []
    with Repository(town.vault(row["rig"])).gitpython() as repo:
        return [
            {
                "sha": commit.hexsha,
                "subject": str(commit.summary),
                "files": commit.stats.total["files"],
                "added": commit.stats.total["insertions"],
                "removed": commit.stats.total["deletions"],
            }
            for commit in repo.iter_commits(f"{row['base_sha']}..{tips[-1]}", max_count=_SHOWN_COMMITS)
        ]
