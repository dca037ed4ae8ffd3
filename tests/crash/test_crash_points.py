"""SIGKILL before every state-changing call of every verb: see docs/reliability.md.

`pytest -m crash` tries all points; an ordinary run a seeded twentieth of them. `VERMAS_CRASH_SEED` repeats a sample, `VERMAS_CRASH_POINTS`
(`nuke-dirty:self:17,…`) single points. `VERMAS_CRASH_LOG` names a file that gets violations as they are found.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable

import pytest

from .preload import MODES
from .scenarios import SCENARIOS, Point, play
from .world import World

_SHARE = 20
#: The points of a verb and mode are dealt out to this many tests, so that workers of pytest-xdist share them evenly.
_SHARDS = 4


@pytest.mark.crash
@pytest.mark.timeout(0)
@pytest.mark.parametrize("shard", range(_SHARDS))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("verb", SCENARIOS)
def test_every_point(world: World, verb: str, mode: str, shard: int, record_property: Callable[[str, object], None]) -> None:
    began = time.monotonic()
    wrong: list[str] = []
    tried = 0
    for at in itertools.count(1 + shard, _SHARDS):
        point = play(world, SCENARIOS[verb], at, mode)
        wrong += _lines(verb, mode, at, point)
        if not point.fired:
            break
        tried += 1
    record_property("crash", (verb, mode, tried, _places(wrong), time.monotonic() - began))
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("verb", SCENARIOS)
def test_sample(world: World, verb: str, record_property: Callable[[str, object], None]) -> None:
    seed = int(os.environ.get("VERMAS_CRASH_SEED", "") or time.time_ns() // 1000 % 1_000_000)
    chance = random.Random(f"{seed}-{verb}")
    began = time.monotonic()
    points = _named(verb)
    if points is None:
        wrong = _lines(verb, "none", 0, play(world, SCENARIOS[verb], 0, "self"))
        seen = world.calls
        points = [(chance.randint(1, seen), chance.choice(MODES)) for _ in range(max(1, 3 * seen // _SHARE))]
    else:
        wrong = []
    for at, mode in points:
        wrong += _lines(verb, mode, at, play(world, SCENARIOS[verb], at, mode))
    record_property("crash", (verb, f"seed {seed}", len(points), _places(wrong), time.monotonic() - began))
    assert not wrong, f"VERMAS_CRASH_SEED={seed}\n" + "\n".join(wrong)


def _lines(verb: str, mode: str, at: int, point: Point) -> list[str]:
    """What is wrong at a point, each line beginning with the name by which `VERMAS_CRASH_POINTS` repeats it."""
    lines = [f"{verb}:{mode}:{at} {text}" for text in point.wrong]
    if lines and "VERMAS_CRASH_LOG" in os.environ:
        with open(os.environ["VERMAS_CRASH_LOG"], "a") as file:
            file.write("\n".join(lines) + "\n")
    return lines


def _places(lines: list[str]) -> int:
    """At how many points something was wrong."""
    return len({line.split()[0] for line in lines})


def _named(verb: str) -> list[tuple[int, str]] | None:
    names = os.environ.get("VERMAS_CRASH_POINTS", "")
    if not names:
        return None
    points = [name.split(":") for name in names.split(",")]
    return [(int(at), mode) for which, mode, at in points if which == verb]
