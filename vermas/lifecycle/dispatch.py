"""From ready beads to polecats: gates, a slot, and one transaction that claims bead and slot together."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vermas.beads.ready import ready_ids
from vermas.calls import PluginFailure
from vermas.lifecycle.site import Site, actor
from vermas.store import beads, polecats
from vermas.types import Bead, Pending, Slot

_LOST_RACES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """What one look at the ready beads led to: new polecats, and why the other beads wait. `retry_after_s` is when to look again."""

    polecats: tuple[str, ...] = ()
    waiting: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None


def dispatch(site: Site, *, only: Iterable[str] | None = None, limit: int) -> Dispatched:
    """Give ready beads (all of the rig, or those of `only`) to new polecats, until `limit` polecats live or no slot is left."""
    started: list[str] = []
    waiting: dict[str, str] = {}
    retries: list[float] = []
    chosen = None if only is None else set(only)
    for bead_id in ready_ids(site.store.read, site.rig.name):
        if chosen is not None and bead_id not in chosen:
            continue
        if len(polecats.living(site.store.read, site.rig.name)) >= limit:
            waiting[bead_id] = f"{limit} polecats are at work"
            break
        try:
            answer = spawn(site, bead_id)
        except PluginFailure as error:  # this bead stays ready; the others are none of its business
            site.hooks.report(error)
            waiting[bead_id] = str(error)
            continue
        if isinstance(answer, str):
            started.append(answer)
        elif isinstance(answer, Pending):
            waiting[bead_id] = answer.why
            retries.append(answer.retry_after_s)
            break
        elif isinstance(answer, Held):
            waiting[bead_id] = answer.why
            if answer.retry_after_s is not None:
                retries.append(answer.retry_after_s)
    return Dispatched(polecats=tuple(started), waiting=waiting, retry_after_s=min(retries, default=None))


def preview(site: Site, *, only: Iterable[str] | None = None) -> list[dict[str, str]]:
    """What `dispatch` would do with each ready bead now, without doing it."""
    chosen = None if only is None else set(only)
    taken = polecats.taken(site.store.read, site.rig.name)
    lines = []
    for bead_id in ready_ids(site.store.read, site.rig.name):
        if chosen is not None and bead_id not in chosen:
            continue
        bead = site.bead(bead_id)
        slot, why = _foreseen(site, bead, taken)
        taken += [slot] if slot else []
        lines.append({"rig": site.rig.name, "bead": bead_id, "title": bead.title, "would": f"start in {slot}" if slot else f"wait: {why}"})
    return lines


def _foreseen(site: Site, bead: Bead, taken: list[str]) -> tuple[str, str]:
    """The slot that a bead would get, or why none."""
    held = _gated(site, bead.id)
    if held is not None:
        return "", held.why
    try:
        answer = site.hooks.allocate(bead, taken, time.time())
    except PluginFailure as error:
        return "", str(error)
    if isinstance(answer, Slot):
        return answer.name, ""
    return "", answer.why if answer else "no plugin offers a slot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A gate holds a bead back."""

    why: str
    retry_after_s: float | None


def spawn(site: Site, bead_id: str) -> str | Pending | Held | None:
    """Claim a ready bead for a new polecat: its id, or why not now. None when another was faster."""
    held = _gated(site, bead_id)
    if held is not None:
        return held
    bead = site.bead(bead_id)
    for _ in range(_LOST_RACES):
        taken = polecats.taken(site.store.read, site.rig.name)
        answer = site.hooks.allocate(bead, taken, time.time())
        if answer is None:
            return Pending(why="no plugin offers a slot")
        if isinstance(answer, Pending):
            return answer
        try:
            return claim(site, bead_id, answer)
        except sqlite3.IntegrityError:
            continue  # another process took the slot: ask again with the new list
    return Pending(why="every slot that was offered was taken by others first", retry_after_s=1.0)


def claim(site: Site, bead_id: str, slot: Slot) -> str | None:
    """Claim, slot and polecat in one transaction; None when the bead is no longer to be had."""
    with site.store.write() as db:
        if not beads.claim(db, bead_id, actor(site.rig.name, slot.name)):
            return None
        polecat_id = polecats.insert(
            db,
            rig=site.rig.name,
            bead_id=bead_id,
            slot=slot.name,
            place=slot.place,
            agent=site.rig.agent,
            target=site.rig.target,
        )
        site.record(db, "claimed", polecats.get(db, polecat_id), slot=slot.name)
    return polecat_id


def _gated(site: Site, bead_id: str) -> Held | None:
    if not site.hooks.plugins.implementers("vermas_gate"):
        return None
    running = [site.polecat(row) for row in polecats.living(site.store.read, site.rig.name)]
    deferrals = site.hooks.gate(site.bead(bead_id), running, time.time())
    if not deferrals:
        return None
    times = [deferral.retry_after_s for deferral in deferrals if deferral.retry_after_s is not None]
    return Held(why="; ".join(deferral.why for deferral in deferrals), retry_after_s=min(times, default=None))
