"""How soon VerMAS knows that a session died: SIGKILL to agents and to their supervisors, until the event is in the database.

python benchmarks/death.py [--sessions 20] [--runtimes tmux process]
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import statistics
import time

from workbench import Bench, machine, small_repository, table, workplace

AGENT = "#!/bin/sh\nexec sleep 600\n"
_PAUSE_S = 0.3


def delays(bench: Bench, sessions: int) -> dict[str, list[float]]:
    """Seconds until each end was recorded, by who was killed."""
    run = bench.start()
    records = bench.working(sessions)
    time.sleep(2)  # all are watched by then
    killed: dict[str, tuple[str, float]] = {}
    for number, record in enumerate(records):
        whom = ("agent", "supervisor")[number % 2]
        killed[record["id"].partition("-")[0]] = (whom, time.time())
        os.kill(record["agent_pid" if whom == "agent" else "pid"], signal.SIGKILL)
        time.sleep(_PAUSE_S)
    time.sleep(2)
    db = sqlite3.connect(bench.town / ".vermas" / "town.db")
    ends = dict(db.execute("SELECT polecat_id, min(at) FROM events WHERE kind = 'session-ended' GROUP BY polecat_id").fetchall())
    db.close()
    bench.stop(run)
    found: dict[str, list[float]] = {"agent": [], "supervisor": []}
    for polecat, (whom, at) in killed.items():
        if polecat not in ends:
            raise SystemExit(f"the end of {polecat} was not noticed within 2 s")
        found[whom].append(ends[polecat] - at)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--runtimes", nargs="+", default=["tmux", "process"])
    options = parser.parse_args()
    lines = []
    for runtime in options.runtimes:
        with workplace(None) as place:
            begin = machine()
            bench = Bench(place, small_repository(place), runtime=runtime, slots=options.sessions, tasks=options.sessions, agent=AGENT)
            for whom, taken in delays(bench, options.sessions).items():
                lines.append([runtime, whom, str(len(taken)), f"{statistics.median(taken) * 1000:.0f}", f"{max(taken) * 1000:.0f}"])
    print(f"{begin}\n\n{table(('runtime', 'killed', 'times', 'noticed, median ms', 'most ms'), lines)}")


if __name__ == "__main__":
    main()
