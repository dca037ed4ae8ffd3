"""What starting costs: whole processes in turn, against a bare `python -c pass` of the same interpreter.

    python benchmarks/startup.py [--rounds 20]

`in a session` is the `vermas` that agents find on their PATH, `installed` the console script. Every `done` really ends a session.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from workbench import VERMAS, Bench, machine, small_repository, table, workplace

AGENT = """\
#!/bin/sh
echo work > "task_$VERMAS_BEAD.txt" && git add . && git commit -q -m "task $VERMAS_BEAD"
"{python}" -c 'import json, os; print(json.dumps([os.getcwd(), dict(os.environ)]))' > "{place}/$VERMAS_BEAD.tmp"
mv "{place}/$VERMAS_BEAD.tmp" "{place}/$VERMAS_BEAD.json"
exec sleep 600
"""
_WARM = 2


def timed(argv: list[str], cwd: str, env: dict[str, str]) -> tuple[float, float]:
    """Milliseconds of wall and of CPU time; git processes that the command starts are part of it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(argv, cwd=cwd, env=env, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall * 1000, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def sessions(place: Path, rounds: int) -> list[tuple[str, dict[str, str]]]:
    """The working directories and environments of live sessions that have committed."""
    agent = AGENT.format(python=sys.executable, place=place)
    bench = Bench(place, small_repository(place), runtime="process", slots=rounds, tasks=rounds, agent=agent)
    run = bench.start()
    bench.working(rounds)
    while len(found := list(place.glob("bench-*.json"))) < rounds:
        time.sleep(0.05)
    run.terminate()  # sessions go on; nobody lands while we measure
    run.wait()
    return [json.loads(path.read_text()) for path in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with workplace(None) as place:
        begin = machine()
        found = sessions(place, rounds + _WARM)
        cwd, env = found[0]
        near = str(Path(env["PATH"].split(os.pathsep)[0]) / "vermas")
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "vermas signal, in a session": [near, "signal", "working"],
            "vermas assignment, in a session": [near, "assignment"],
            "vermas done, in a session": [near, "done"],
            "vermas signal, installed": [VERMAS, "signal", "working"],
            "vermas assignment, installed": [VERMAS, "assignment"],
            "vermas --help": [VERMAS, "--help"],
            "vermas bead list": [VERMAS, "bead", "list"],
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(rounds + _WARM):
            for name, argv in commands.items():
                where = found[number] if "done" in name else (cwd, env)
                taken[name].append(timed(argv, *where))
        subprocess.run([VERMAS, "polecat", "stop", "--all"], cwd=place / "town", check=False, capture_output=True)
    lines = []
    middle = {name: [statistics.median(column) for column in zip(*pairs[_WARM:], strict=True)] for name, pairs in taken.items()}
    bare = middle["python -c pass"]
    for name, (wall, cpu) in middle.items():
        lines.append([name, f"{wall:.1f}", f"{wall / bare[0]:.2f}", f"{cpu:.1f}", f"{cpu / bare[1]:.2f}"])
    print(f"{begin}\n\n{table(('command', 'wall ms', 'ratio', 'CPU ms', 'ratio'), lines)}")


if __name__ == "__main__":
    main()
