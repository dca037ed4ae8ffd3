"""What many live sessions cost the run loop: memory, CPU time while nothing happens, and processes per tick.

    python benchmarks/scale.py [--sessions 1 50 100] [--runtimes tmux process]

Processes are counted by strace, when it is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from workbench import Bench, machine, small_repository, table, workplace

AGENT = "#!/bin/sh\nexec sleep 600\n"
_WATCHED_S = 20.0
_TICK_S = 5.0


def watched(place: Path, repository: Path, runtime: str, sessions: int) -> list[str]:
    """A line of the table."""
    here = place / f"{runtime}-{sessions}"
    here.mkdir()
    bench = Bench(here, repository, runtime=runtime, slots=sessions, tasks=sessions, agent=AGENT)
    run = bench.start()
    bench.working(sessions)
    time.sleep(_TICK_S)  # until all is quiet
    before = _cpu_s(run.pid)
    time.sleep(_WATCHED_S)
    used = _cpu_s(run.pid) - before
    processes = _processes(run.pid, here / "strace.txt")
    status = dict(line.split(":", 1) for line in Path(f"/proc/{run.pid}/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    bench.stop(run)
    ticks = _WATCHED_S / _TICK_S
    per_tick = "not counted" if processes is None else f"{processes / ticks:.1f}"
    return [runtime, str(sessions), f"{peak:.0f}", status["Threads"].strip(), per_tick, f"{used / ticks * 1000:.0f}"]


def _processes(pid: int, log: Path) -> int | None:
    """How many programs a process starts while it is watched; None without strace."""
    if shutil.which("strace") is None:
        return None
    trace = subprocess.Popen(["strace", "-qq", "-f", "-e", "trace=execve", "-o", str(log), "-p", str(pid)], stderr=subprocess.DEVNULL)
    time.sleep(_WATCHED_S)
    trace.send_signal(signal.SIGINT)
    trace.wait()
    return sum("execve(" in line for line in log.read_text().splitlines())


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 50, 100])
    parser.add_argument("--runtimes", nargs="+", default=["tmux", "process"])
    options = parser.parse_args()
    with workplace(None) as place:
        begin = machine()
        repository = small_repository(place)
        lines = [watched(place, repository, runtime, count) for runtime in options.runtimes for count in options.sessions]
    heads = ("runtime", "live sessions", "peak memory, MB", "threads", "processes per tick", "CPU ms per tick")
    print(f"{begin}; a tick is {_TICK_S:g} s\n\n{table(heads, lines)}")


if __name__ == "__main__":
    main()
