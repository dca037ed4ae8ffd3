"""A run over the rigs of a town: a loop per rig in a thread of its own, and what became of the chosen beads."""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vermas import git
from vermas.beads.ready import ready_ids
from vermas.beads.waiting import reasons
from vermas.config import Config
from vermas.errors import NotFound, RunError, VermasError
from vermas.lifecycle.opening import open_site
from vermas.lifecycle.site import Site
from vermas.loop import Plan, RigLoop
from vermas.processes import FileLock
from vermas.store import Store, beads, polecats, submissions
from vermas.town import Town
from vermas.types import Event

#: Events after which a bead of another rig may be ready.
_UNBLOCKING = ("landed", "no-change")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a chosen bead. `state` is `landed`, `closed`, `stopped`, `working` or `waiting`; the first two are success."""

    bead_id: str
    rig: str
    title: str
    state: str
    why: str = ""
    sha: str = ""

    @property
    def good(self) -> bool:
        return self.state in ("landed", "closed")


class Run:
    """Several rigs driven at once. `told` gets every event and may be called from several threads."""

    def __init__(self, town: Town, config: Config, told: Callable[[Event], None]) -> None:
        self.town = town
        self.config = config
        self.failures: dict[str, VermasError] = {}
        self._told = told
        self._loops: list[RigLoop] = []
        self._threads: list[threading.Thread] = []
        self._chosen: dict[str, str] = {}
        self._seen = threading.Lock()

    def add(self, rig: str, *, only: Iterable[str] | None, overrides: Sequence[str], limit: int | None, watch: bool) -> None:
        """Prepare a rig: take its lock and load its plugins. Raises `Locked`, or what is wrong with its configuration."""
        git.program()  # without it a bead would be claimed and wait
        lock = FileLock(self.town.rig_lock(rig), "run", blocking=False)
        lock.acquire(blocking=False)
        try:
            site = open_site(self.town, self.config, rig, overrides=overrides)
            plan = Plan(
                beads=None if only is None else frozenset(only),
                limit=min(limit or site.rig.max_polecats, site.rig.max_polecats),
                watch=watch,
            )
            self._choose(site, plan)
            self._loops.append(RigLoop(site, lock, plan, self._tell, functools.partial(self._others_busy, rig)))
        except BaseException:
            lock.release()
            raise

    def start(self) -> None:
        """Let all loops run."""
        for loop in self._loops:
            thread = threading.Thread(target=self._drive, args=(loop,), name=f"rig-{loop.site.rig.name}")
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Start nothing new; the loops end when what they are doing this moment is done."""
        for loop in self._loops:
            loop.stop()

    @property
    def alive(self) -> bool:
        """Whether any loop still runs."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        """Wait for the loops."""
        for thread in self._threads:
            thread.join()

    def outcomes(self) -> list[Outcome]:
        """What became of every chosen bead: those named, or all that were ready or in work, and all that became ready on the way."""
        store = Store(self.town.db)
        with self._seen:
            chosen = dict(self._chosen)
        waiting = {bead_id: why for loop in self._loops for bead_id, why in loop.waiting.items()}
        try:
            return [outcome(store.read, bead_id, rig, waiting.get(bead_id, "")) for bead_id, rig in chosen.items()]
        finally:
            store.close()

    def _choose(self, site: Site, plan: Plan) -> None:
        db = site.store.read
        at_work = [row["bead_id"] for row in polecats.living(db, site.rig.name)]
        found = [*at_work, *ready_ids(db, site.rig.name)] if plan.beads is None else list(plan.beads)
        with self._seen:
            self._chosen.update(dict.fromkeys(found, site.rig.name))

    def _tell(self, event: Event) -> None:
        if event.kind == "claimed":
            with self._seen:
                self._chosen.setdefault(event.bead_id, event.rig)
        elif event.kind in _UNBLOCKING:
            self._nudge_others(event.rig)
        self._told(event)

    def _others_busy(self, rig: str) -> bool:
        return any(not loop.idle for loop in self._loops if loop.site.rig.name != rig)

    def _nudge_others(self, rig: str) -> None:
        for loop in self._loops:
            if loop.site.rig.name != rig:
                loop.nudge()

    def _drive(self, loop: RigLoop) -> None:
        rig = loop.site.rig.name
        self.failures[rig] = RunError("its loop broke off with a bug: see the traceback above")
        try:
            loop.run()
            del self.failures[rig]
        except VermasError as error:
            self.failures[rig] = error
        finally:
            loop.idle = True
            loop.release()
            self._nudge_others(loop.site.rig.name)


def outcome(db: sqlite3.Connection, bead_id: str, rig: str, waiting: str = "") -> Outcome:
    """The present fate of one bead."""
    bead = beads.get(db, bead_id)
    if bead is None:
        raise NotFound("bead", bead_id)
    landed = [row for row in submissions.of_bead(db, bead_id) if row["state"] == "landed"]
    if bead["status"] == "closed":
        state, why = ("landed", "") if landed else ("closed", bead["close_reason"])
        return Outcome(bead_id=bead_id, rig=rig, title=bead["title"], state=state, why=why, sha=landed[-1]["landed_sha"] if landed else "")
    polecat = polecats.of_bead(db, bead_id)
    if polecat is not None:
        stopped = polecat["want"] == "stop"
        why = f"{polecat['id']}: {polecat['reason'] or 'at work'}"
        return Outcome(bead_id=bead_id, rig=rig, title=bead["title"], state="stopped" if stopped else "working", why=why)
    why = waiting or "; ".join(reasons(db, bead)) or "ready"
    return Outcome(bead_id=bead_id, rig=rig, title=bead["title"], state="waiting", why=why)
