"""`vermas status`, `vermas log`, `vermas why`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from vermas.beads.ready import ready_ids
from vermas.cli.app import current_town, json_option
from vermas.cli.events import evidence, line
from vermas.cli.output import age, emit, one_line, print_table
from vermas.cli.polecatview import view
from vermas.config import load
from vermas.errors import Locked, NotFound
from vermas.processes import FileLock, lock_holder
from vermas.run import outcome
from vermas.store import Store, beads, events, incidents, polecats
from vermas.types import to_json

_FOLLOW_S = 0.3


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show what is running, what is ready and what needs a human, rig by rig."""
    town = current_town()
    config = load(town)
    store = Store(town.db)
    db = store.read
    rigs: list[dict[str, Any]] = [
        {
            "rig": rig,
            "driven_by": _holder(town.rig_lock(rig)),
            "plugins": list(settings.plugins),
            "open": beads.tally(db, rig).get("open", 0),
            "ready": len(ready_ids(db, rig)),
            "closed": beads.tally(db, rig).get("closed", 0),
            "polecats": [view(store, row) for row in polecats.living(db, rig)],
        }
        for rig, settings in config.rigs.items()
    ]
    open_incidents = [
        {key: row[key] for key in ("id", "rig", "severity", "title", "body", "polecat_id", "bead_id")} for row in incidents.open_now(db)
    ]
    data = {"town": config.town.name, "root": town.root, "run_dir": town.run_dir, "rigs": rigs, "incidents": open_incidents}

    def human() -> None:
        print(f"town {one_line(config.town.name)} in {one_line(town.root)} (sockets in {town.run_dir})")
        rows = [
            (r["rig"], r["open"], r["ready"], len(r["polecats"]), r["closed"], r["driven_by"] or "nobody", " ".join(r["plugins"]))
            for r in rigs
        ]
        print_table(("rig", "open", "ready", "polecats", "closed", "driven by", "plugins"), rows, empty="no rigs")
        workers = [p for r in rigs for p in r["polecats"]]
        cells = [(p["id"], p["actor"], p["bead"], p["state"], age(p["age_s"]), p["why"]) for p in workers]
        print_table(("polecat", "address", "bead", "state", "age", "why"), cells)
        for incident in open_incidents:
            print(one_line(f"! {incident['severity']}: {incident['title']}"))
            for text in incident["body"].splitlines():
                print(f"  {one_line(text)}")

    emit(data, as_json, human)


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Go on as events come.")
@click.option("--rig", default="", help="Only one rig.")
@click.option("-n", "count", default=50, show_default=True, type=click.IntRange(0), help="How many of the newest.")
@json_option
def log(follow: bool, rig: str, count: int, as_json: bool) -> None:
    """Show the town's events."""
    town = current_town()
    if rig:
        load(town).rig(rig)
    store = Store(town.db)
    rows = events.newest(store.read, count, rig=rig)
    seq = rows[-1]["seq"] if rows else events.last_seq(store.read)
    while True:
        for row in rows:
            event = events.view(row)
            print(json.dumps(to_json(event)) if as_json else line(event))
            seq = row["seq"]
        sys.stdout.flush()
        if not follow:
            return
        time.sleep(_FOLLOW_S)
        rows = events.since(store.read, seq, rig=rig)


@click.command()
@click.argument("name", metavar="POLECAT|BEAD")
@json_option
def why(name: str, as_json: bool) -> None:
    """Show the chain of events and evidence behind the present state of a polecat or a bead."""
    town = current_town()
    store = Store(town.db)
    db = store.read
    polecat, bead = polecats.get(db, name), beads.get(db, name)
    if polecat is None and bead is None:
        raise NotFound("polecat or bead", name, [*beads.ids(db), *(row["id"] for row in polecats.living(db))])
    bead_id = bead["id"] if bead is not None else polecat["bead_id"]  # type: ignore[index]
    rows = events.about(db, bead_id=name) if bead is not None else events.about(db, polecat_id=name)
    fate = outcome(db, bead_id, bead["rig"] if bead is not None else polecat["rig"])  # type: ignore[index]
    chain = [events.view(row) for row in rows]
    data = {"outcome": fate, "polecat": view(store, polecat) if polecat is not None else None, "events": chain}

    def human() -> None:
        print(one_line(f"{fate.bead_id} ({fate.title}): {fate.state} {fate.sha[:12] or fate.why}"))
        for event in chain:
            print(line(event))
            for known in evidence(event):
                print(f"          {known}")

    emit(data, as_json, human)


def _holder(path: str) -> str:
    """Who reconciles a rig now."""
    lock = FileLock(path, "status", blocking=False)
    try:
        lock.acquire(blocking=False)
    except Locked:
        return lock_holder(path)
    lock.release()
    return ""
