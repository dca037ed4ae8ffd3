"""The world of a worker, and the figures of the crash points after a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .preload import compiler
from .world import World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """The worker's town, in whichever state a test restores."""
    if compiler() is None:
        pytest.skip("crash points need a C compiler (cc)")
    made = World()
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    rows = [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "crash"]
    if not rows:
        return
    terminalreporter.section("crash points")
    for verb, mode in sorted({(row[0], row[1]) for row in rows}):
        points, wrong, took_s = (sum(row[column] for row in rows if tuple(row[:2]) == (verb, mode)) for column in (2, 3, 4))
        terminalreporter.write_line(f"{verb:<12} {mode:<12} {points:>5} points {wrong:>4} violated {took_s:8.1f} s")
    total, bad = sum(row[2] for row in rows), sum(row[3] for row in rows)
    terminalreporter.write_line(f"{'all':<25} {total:>5} points {bad:>4} violated")
