"""Tasks per minute: trivial beads through a whole `vermas run`, against the same work by a bare shell script, in one invocation.

    python benchmarks/run.py [--tasks 100] [--slots 5 20] [--runtimes tmux process] [--repositories small real] [--rounds 3]

Every round runs the floor and each runtime once, in turn, so that other work on the machine disturbs all alike. A run counts only when
everything landed and nothing is left. Times are of whole processes, from the start of `vermas` to its end. CPU times hold all that was
started: git, tmux, supervisors, agents and the verbs they call. Where others use the machine too, the ratio of CPU times says more than
that of wall times: whoever has more processes gets a larger share.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
from pathlib import Path

from workbench import HERE, VERMAS, Bench, Cost, machine, measure, real_repository, small_repository, table, workplace

HEADS = (
    "repository",
    "slots",
    "who",
    "tasks/min",
    "of the floor",
    "CPU ms/task",
    "of the floor",
    "runner",
    "its git, tmux",
    "sessions",
    "peak MB",
)


def floor(place: Path, repository: Path, slots: int, tasks: int) -> Cost:
    """The same work raw."""
    cost = measure(str(HERE / "floor.sh"), str(tasks), str(slots), str(repository), str(place / "floor"), cwd=place, place=place)
    if cost.code:
        raise SystemExit(f"the floor failed:\n{cost.output}")
    words = dict(word.partition("=")[::2] for word in cost.output.splitlines()[-1].split())
    return Cost(float(words["wall_s"]), cost.own_s, cost.children_s, cost.total_s, cost.peak_mb, "", 0)


def vermas(place: Path, repository: Path, runtime: str, slots: int, tasks: int) -> Cost:
    """One run in a fresh town."""
    here = place / "run"
    here.mkdir()
    bench = Bench(here, repository, runtime=runtime, slots=slots, tasks=tasks)
    cost = measure(VERMAS, "run", cwd=bench.town, place=place)
    wrong = bench.wrong()
    if cost.code or wrong:
        raise SystemExit(f"vermas run on {runtime} ended with {cost.code}: {'; '.join(wrong)}\n{cost.output[-2000:]}")
    shutil.rmtree(here)
    return cost


def rows(name: str, slots: int, tasks: int, costs: dict[str, list[Cost]]) -> list[list[str]]:
    """A line for the floor and for each runtime; ratios are the median of the rounds' own."""
    found = []
    raw_cpu = statistics.median(cost.total_s for cost in costs["floor"]) / tasks * 1000
    for who, taken in costs.items():
        ratio = statistics.median(raw.wall_s / cost.wall_s for raw, cost in zip(costs["floor"], taken, strict=True))
        per_minute = statistics.median(60 * tasks / cost.wall_s for cost in taken)
        total, own, children = (statistics.median(values) / tasks * 1000 for values in zip(*map(_cpu, taken), strict=True))
        line = [name, str(slots), who, f"{per_minute:.0f}", f"{ratio:.2f}", f"{total:.0f}", f"{raw_cpu / total:.2f}"]
        if who == "floor":
            found.append([*line, "", "", "", ""])
        else:
            parts = (own, children, total - own - children, max(cost.peak_mb for cost in taken))
            found.append([*line, *(f"{part:.0f}" for part in parts)])
    return found


def _cpu(cost: Cost) -> tuple[float, float, float]:
    return cost.total_s, cost.own_s, cost.children_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--slots", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--runtimes", nargs="+", default=["tmux", "process"])
    parser.add_argument("--repositories", nargs="+", default=["small", "real"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real", metavar="DIR", help="a project's files instead of pytest's source distribution")
    parser.add_argument("--dir", help="where to work; default: a memory file system")
    options = parser.parse_args()
    lines: list[list[str]] = []
    with workplace(options.dir) as place:
        begin = machine()
        makers = {"small": lambda: small_repository(place), "real": lambda: real_repository(place, options.real)}
        for name in options.repositories:
            repository = makers[name]()
            for slots in options.slots:
                costs: dict[str, list[Cost]] = {"floor": [], **{runtime: [] for runtime in options.runtimes}}
                for _ in range(options.rounds):
                    costs["floor"].append(floor(place, repository, slots, options.tasks))
                    for runtime in options.runtimes:
                        costs[runtime].append(vermas(place, repository, runtime, slots, options.tasks))
                lines += rows(name, slots, options.tasks, costs)
                print(table(HEADS, lines[-len(costs) :]), flush=True)
        print(f"\n{begin}; at the end {os.getloadavg()[0]:.1f}. {options.tasks} tasks, {options.rounds} rounds, check = none\n")
    print(table(HEADS, lines))


if __name__ == "__main__":
    main()
