"""The verbs under kill: the state each begins in, how it is typed, and what is true when it has happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vermas.testing.town import git

from .oracles import held, report, violations
from .world import RIG, World


@dataclass(frozen=True)
class Scenario:
    """`words` are the verb ({bead}: the bead's id); none: the agent types `done` itself. `goal` yields what is missing in the end.

    With `alive` an agent is at work when the verb is typed.
    """

    name: str
    state: str
    agent: str
    words: tuple[str, ...]
    goal: Callable[[World], Iterator[str]]
    agents_end: bool = True
    alive: bool = False


@dataclass(frozen=True)
class Point:
    """One kill and what came of it."""

    fired: bool
    acknowledged: bool
    wrong: tuple[str, ...]
    took_s: float


def play(world: World, scenario: Scenario, at: int, mode: str) -> Point:
    """Kill the verb before its state-changing call number `at`, recover, repeat the verb if it was not acknowledged, and look."""
    began = time.monotonic()
    world.restore(scenario.state)
    world.mode(scenario.agent)
    if scenario.alive:
        world.start_agent()
    ledger = world.ledger() if scenario.alive else world.ledger_of(scenario.state)
    words = tuple(word.format(bead=world.bead) for word in scenario.words or ("sling", "{bead}"))
    world.preload.arm(at, mode)
    ended = world.vermas(*words, join=bool(scenario.words))
    wrong = _settled(world, scenario)
    if not scenario.words:
        ledger = world.ledger() if world.sandbox.exists() else ledger
    fired, seen = world.preload.fired, world.preload.seen
    world.calls = seen
    wrong += violations(world, ledger)
    acknowledged = ended.code == 0
    if not acknowledged and scenario.words:
        before = world.last_event()
        world.preload.arm(0, mode)
        world.vermas(*words)
        if world.last_event() != before:
            again = (*_settled(world, scenario), *violations(world, ledger, repeated=True))
            wrong += [f"after repeating the verb: {text}" for text in again]
    wrong += [f"goal: {text}" for text in scenario.goal(world)]
    if wrong:
        wrong.append(f"the verb exited with {ended.code} after {seen} calls: {ended.out[-600:]}")
    return Point(fired=fired, acknowledged=acknowledged, wrong=tuple(wrong), took_s=time.monotonic() - began)


def _settled(world: World, scenario: Scenario) -> list[str]:
    ended = world.settle(agents_end=scenario.agents_end)
    found = report(ended.out)
    if ended.code != 0 or not found:
        return [f"I5 recovery failed ({ended.code}): {ended.out[-1500:]}"]
    if not found["quiet"]:
        return [f"I5 not at rest after {found['took_s']} s: {found['waits']}"]
    if found["second"] or found["seq"] != found["after"]:
        return [f"I5 the second pass had {found['second']} effects, {found['seq']} → {found['after']} events"]
    return []


def _working(world: World) -> Iterator[str]:
    if not held(world.town / ".vermas" / "sessions" / "p1.lock"):
        yield "no session lives"
    yield from _bead_is(world, "hooked", living=1)


def _removed(world: World) -> Iterator[str]:
    yield from _bead_is(world, "open", living=0)


def _landed(world: World) -> Iterator[str]:
    yield from _bead_is(world, "closed", living=0)
    if "work.txt" not in git(world.origin, "ls-tree", "-r", "--name-only", "main").split():
        yield "the work is not on main"


def _refused(world: World) -> Iterator[str]:
    yield from _bead_is(world, "hooked", living=1)
    states = [row["state"] for row in world.rows("SELECT state FROM submissions")]
    if states != ["red"]:
        yield f"submissions are {states}"
    if git(world.origin, "rev-list", "--count", "main") != "1":
        yield "main moved"


def _bead_is(world: World, status: str, *, living: int) -> Iterator[str]:
    found = [row["status"] for row in world.rows("SELECT status FROM beads")]
    alive = len(world.rows("SELECT id FROM polecats WHERE gone = 0"))
    if found != [status] or alive != living:
        yield f"beads are {found} with {alive} polecats, not {status} with {living}"


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("sling", "ready", "idle", ("sling", "{bead}"), _working, agents_end=False),
        Scenario("done", "ready", "again", (), _landed),
        Scenario("done-dies", "ready", "dies", (), _landed),
        Scenario("nuke-dirty", "dirty", "idle", ("polecat", "nuke", "p1"), _removed),
        Scenario("nuke-clean", "clean", "idle", ("polecat", "nuke", "p1"), _removed),
        Scenario("nuke-alive", "ready", "busy", ("polecat", "nuke", "p1", "--force"), _removed, agents_end=False, alive=True),
        Scenario("land", "submitted", "work", ("run", RIG), _landed),
        Scenario("land-red", "submitted-red", "red", ("run", RIG), _refused),
    )
}
