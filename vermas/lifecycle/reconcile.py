"""One pass over a rig: every polecat and the present submission, effect after effect, until each one waits for something."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vermas.lifecycle import landing, observe
from vermas.lifecycle.advance import Wait, advance
from vermas.lifecycle.site import Site
from vermas.store import polecats
from vermas.types import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """How many effects a pass had, and what each polecat waits for now. A second pass right after a complete one has none."""

    effects: int
    waits: dict[str, Wait] = field(default_factory=dict)
    landing: landing.Waiting = field(default_factory=landing.Waiting)


def reconcile(site: Site, only: Iterable[str] | None = None) -> Pass:
    """Bring the rig (or the polecats of `only`) to where it should be, as far as that is possible without waiting."""
    chosen = None if only is None else set(only)
    effects = 0
    while True:
        before = effects
        seen = observations(site, chosen)
        waits: dict[str, Wait] = {}
        for row in polecats.living(site.store.read, site.rig.name):
            if chosen is None or row["id"] in chosen:
                done, waits[row["id"]] = settle(site, row["id"], seen.get(f"{row['id']}-{row['session_no']}"))
                effects += done
        waiting = landing.Waiting()
        if chosen is None:
            done, waiting = land(site)
            effects += done
        if effects == before:
            site.notify()
            return Pass(effects=effects, waits=waits, landing=waiting)


def settle(site: Site, polecat_id: str, seen: Observation | None) -> tuple[int, Wait]:
    """All effects of one polecat that need no waiting. The runtime's word is only good for the first look."""
    effects = 0
    while True:
        wait = advance(site, polecat_id, seen)
        if wait is not None:
            return effects, wait
        effects += 1
        seen = None


def land(site: Site) -> tuple[int, landing.Waiting]:
    """All effects of the rig's submissions that need no waiting."""
    effects = 0
    while True:
        wait = landing.advance(site)
        if wait is not None:
            return effects, wait
        effects += 1


def observations(site: Site, chosen: set[str] | None = None) -> dict[str, Observation]:
    """What the runtimes say of the running sessions, in one look per driver."""
    pairs = []
    for row in polecats.living(site.store.read, site.rig.name):
        session = polecats.session(site.store.read, row["id"], row["session_no"])
        if session is not None and session["state"] == "running" and (chosen is None or row["id"] in chosen):
            pairs.append((row, session))
    return observe.ask_runtimes(site, pairs)
