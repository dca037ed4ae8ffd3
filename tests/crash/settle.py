"""Recovery as `vermas run` does it: one pass of the reconciler (until everything waits), and a second one right after it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from vermas.config import load
from vermas.git import HELD
from vermas.lifecycle.opening import open_site
from vermas.lifecycle.reconcile import Pass, reconcile
from vermas.lifecycle.site import Site
from vermas.processes import FileLock
from vermas.store import events
from vermas.town import Town

DEADLINE_S = 30.0
_LOOK_S = 0.02


@dataclass(frozen=True)
class Settled:
    """What it took: the effects of the first pass and of the second one, the newest event before the second one and after it."""

    quiet: bool
    effects: int
    second: int
    seq: int
    after: int
    took_s: float
    waits: dict[str, str]


def settle(root: str, rig: str, agents_end: bool) -> int:
    """Print a `Settled` as JSON. With `agents_end` the first pass lasts until no session runs any more."""
    began = time.monotonic()
    town = Town(root)
    with FileLock(town.rig_lock(rig), "run") as lock:
        HELD.set((lock.fd,))
        effects, last, quiet = _first(town, rig, agents_end, began)
        site = open_site(town, load(town), rig)
        seq = events.last_seq(site.store.read)
        second = reconcile(site)
        found = Settled(
            quiet=quiet,
            effects=effects,
            second=second.effects,
            seq=seq,
            after=events.last_seq(site.store.read),
            took_s=time.monotonic() - began,
            waits={name: wait.why for name, wait in last.waits.items()},
        )
    print(json.dumps(vars(found)))
    return 0


def _first(town: Town, rig: str, agents_end: bool, began: float) -> tuple[int, Pass, bool]:
    site = open_site(town, load(town), rig)
    effects = 0
    while True:
        passed = reconcile(site)
        effects += passed.effects
        waits = [wait.seconds for wait in passed.waits.values() if wait.seconds is not None]
        waits += [passed.landing.seconds] if passed.landing.seconds is not None else []
        if not passed.effects and not waits and not (agents_end and _running(site)):
            return effects, passed, True
        if time.monotonic() - began > DEADLINE_S:
            return effects, passed, False
        if not passed.effects:
            time.sleep(_LOOK_S)


def _running(site: Site) -> bool:
    query = "SELECT count(*) FROM sessions s JOIN polecats p ON p.id = s.polecat_id WHERE s.state != 'ended' AND p.gone = 0"
    return bool(site.store.read.execute(query).fetchone()[0])
