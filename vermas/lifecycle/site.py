"""One rig at work: its store, its plugins, its repositories, and the views of its polecats that plugins get."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vermas.beads.record import bead_from_row
from vermas.calls import Failure, Hooks
from vermas.git import Repository, refresh_target
from vermas.store import Store, beads, events, incidents
from vermas.town import Town
from vermas.types import Bead, Incident, Polecat, Rig, Sandbox, Session, Severity, Slot, from_json

_TARGET_FRESH_S = 2.0
_SAME_FAILURE_S = 60.0


class TargetClock:
    """Asks the origin for its target at most every two seconds, from however many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._sha = ""

    def resolve(self, rig: Rig) -> str:
        """The commit at the tip of the rig's target branch, present in the vault."""
        with self._lock:
            if not self._sha or time.monotonic() - self._asked > _TARGET_FRESH_S:
                self._sha = refresh_target(rig.vault, rig.origin, rig.target)
                self._asked = time.monotonic()
            return self._sha

    def moved(self, sha: str) -> None:
        """The target is known to be at `sha` now."""
        with self._lock:
            self._sha, self._asked = sha, time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What every step of a rig's life cycle needs. `env_pass` are names of operator variables that sessions get."""

    town: Town
    store: Store
    rig: Rig
    hooks: Hooks
    env_pass: tuple[str, ...] = ()
    max_attempts: int = 3
    target: TargetClock = field(default_factory=TargetClock)

    @property
    def vault(self) -> Repository:
        return Repository(self.rig.vault)

    @property
    def yard(self) -> Repository:
        return Repository(self.rig.yard, vault=self.rig.vault)

    def record(self, db: sqlite3.Connection, kind: str, row: sqlite3.Row | None = None, *, bead_id: str = "", **data: Any) -> None:
        """Append an event about a polecat (or only a bead) of this rig."""
        if row is None:
            events.append(db, rig=self.rig.name, kind=kind, bead_id=bead_id, **data)
        else:
            events.append(
                db,
                rig=self.rig.name,
                kind=kind,
                bead_id=row["bead_id"],
                polecat_id=row["id"],
                session_no=row["session_no"],
                **data,
            )

    def note(self, kind: str, row: sqlite3.Row | None = None, **data: Any) -> None:
        """Append an event in a transaction of its own."""
        with self.store.write() as db:
            self.record(db, kind, row, **data)

    def call_human(self, db: sqlite3.Connection, row: sqlite3.Row, *, key: str, severity: Severity, title: str, body: str) -> None:
        """Open an incident about a polecat, once per `key`; the channels are asked by the next pass."""
        opened = incidents.open_once(
            db,
            rig=self.rig.name,
            key=f"{row['id']}:{key}",
            severity=severity,
            title=title,
            body=body,
            polecat_id=row["id"],
            bead_id=row["bead_id"],
        )
        if opened:
            self.record(db, "incident-opened", row, incident=opened, severity=severity, title=title, body=body)

    def notify(self) -> None:
        """Ask the channels about incidents that nobody was told of."""
        for row in incidents.unnotified(self.store.read, self.rig.name):
            names = ("id", "rig", "key", "severity", "title", "body", "opened_at", "polecat_id", "bead_id")
            receipts = self.hooks.notify(Incident(**{name: row[name] for name in names}))
            with self.store.write() as db:
                incidents.mark_notified(db, row["id"])
                if receipts:
                    told = [{"state": receipt.state, "channel": receipt.channel, "why": receipt.why} for receipt in receipts]
                    self.record(db, "incident-notified", bead_id=row["bead_id"], incident=row["id"], receipts=told)

    def bead(self, bead_id: str) -> Bead:
        """The bead of a polecat. Raises LookupError when it was removed from the store."""
        row = beads.get(self.store.read, bead_id)
        if row is None:
            raise LookupError(bead_id)
        return bead_from_row(self.store.read, row)

    def polecat(self, row: sqlite3.Row) -> Polecat:
        """A polecat as plugins see it."""
        return Polecat(
            id=row["id"],
            rig=self.rig.name,
            bead=self.bead(row["bead_id"]),
            slot=Slot(name=row["slot"], place=row["place"]),
            session_no=row["session_no"],
            slot_dir=self.town.slot_dir(self.rig.name, row["slot"]),
            home=self.home(row),
            branch=row["branch"],
            agent=row["agent"],
            actor=actor(self.rig.name, row["slot"]),
            resume_token=row["resume_token"],
        )

    def home(self, row: sqlite3.Row) -> str:
        """The directory of a polecat's own files."""
        return self.town.home(self.rig.name, row["slot"], row["id"])


def actor(rig: str, slot: str) -> str:
    """The address of a polecat."""
    return f"{rig}/polecats/{slot}"


def sandbox_of(row: sqlite3.Row) -> Sandbox | None:
    """The handle of a polecat's sandbox, once it has one."""
    return from_json(Sandbox, json.loads(row["sandbox"])) if row["sandbox"] else None


def session_of(row: sqlite3.Row) -> Session | None:
    """The handle in a session's row, once the runtime gave one."""
    return from_json(Session, json.loads(row["handle"])) if row["handle"] else None


def report_failures(store: Store, rig: str) -> Callable[[Failure], None]:
    """A function that records a plugin's failure with everything that attributes it; the same one at most once a minute."""
    last: dict[tuple[str, str, str], float] = {}

    def report(failure: Failure) -> None:
        key = (failure.plugin, failure.hook, failure.error)
        now = time.monotonic()
        if now - last.get(key, float("-inf")) < _SAME_FAILURE_S:
            return
        last[key] = now
        data = {("failure" if name == "kind" else name): value for name, value in dataclasses.asdict(failure).items()}
        with store.write() as db:
            events.append(db, rig=rig, kind="plugin-failed", **data)

    return report
