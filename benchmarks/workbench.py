"""What the benchmarks share: a place on a memory file system, repositories to work on, towns, and the cost of a command with all it starts.

Everything goes through the command line of the `vermas` beside this Python. Linux.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERMAS = str(Path(sys.executable).with_name("vermas"))
HERE = Path(__file__).parent
REAL = "pytest==8.3.4"
_PR_SET_CHILD_SUBREAPER = 36
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_REAP_S = 10.0
_RIG = "bench"

AGENT = """\
#!/bin/sh
echo "result of $VERMAS_BEAD" > "task_$VERMAS_BEAD.txt" && git add . && git commit -q -m "task $VERMAS_BEAD" && exec vermas done
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took: the CPU seconds of itself, of the children that it waited for, and of all that was started, daemons included."""

    wall_s: float
    own_s: float
    children_s: float
    total_s: float
    peak_mb: float
    output: str
    code: int


@contextmanager
def workplace(directory: str | None) -> Iterator[Path]:
    """A temporary directory on a memory file system when there is one: disks differ more than programs do."""
    base = directory or next((place for place in ("/dev/shm", tempfile.gettempdir()) if os.access(place, os.W_OK)), ".")
    with tempfile.TemporaryDirectory(prefix="vb-", dir=base) as name:
        place = Path(name)
        os.environ["TMPDIR"] = name
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        for variable in ("XDG_RUNTIME_DIR", "TMUX", "TMUX_PANE", "VERMAS_TOWN"):
            os.environ.pop(variable, None)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            yield place
        finally:
            end_servers(place)


def call(*argv: str, cwd: Path | None = None, stdin: str | None = None) -> str:
    """The output of a command. Raises SystemExit with what it said when it fails."""
    done = subprocess.run(argv, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.stderr or done.stdout}")
    return done.stdout


def small_repository(place: Path) -> Path:
    """A bare repository of 20 small files."""
    tree = place / "small-tree"
    for number in range(20):
        file = tree / f"part{number % 4}" / f"file{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"line of {number}\n" * 40)
    return _repository(place / "small.git", tree)


def real_repository(place: Path, source: str | None) -> Path:
    """A bare repository of a real project: a directory, or pytest's source distribution as pip downloads it."""
    tree = Path(source) if source else place / "real-tree"
    if not source:
        call(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(place), REAL)
        with tarfile.open(next(place.glob("*.tar.gz"))) as archive:
            archive.extractall(tree, filter="data")
    return _repository(place / "real.git", tree)


def _repository(bare: Path, tree: Path) -> Path:
    work = bare.with_suffix(".work")
    shutil.copytree(tree, work, ignore=shutil.ignore_patterns(".git"))
    person = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0")
    call("git", "init", "-q", "-b", "main", cwd=work)
    call("git", "add", "-A", "-f", cwd=work)
    call("git", *person, "commit", "-q", "-m", "start", cwd=work)
    call("git", "clone", "-q", "--bare", str(work), str(bare))
    shutil.rmtree(work)
    return bare


class Bench:
    """A town with one rig on a copy of `repository`, a scripted agent, and `tasks` ready beads."""

    def __init__(self, place: Path, repository: Path, *, runtime: str, slots: int, tasks: int, agent: str = AGENT) -> None:
        self.town = place / "town"
        self.origin = place / "origin.git"
        self.tasks = tasks
        script = place / "agent.sh"
        script.write_text(agent)
        script.chmod(0o755)
        shutil.copytree(repository, self.origin)
        plugins = f"slots,worktree,{runtime},script,watchdog,refinery"
        call(VERMAS, "init", str(self.town))
        self.call("rig", "add", _RIG, str(self.origin), "--check", "none", "--agent", "script", "--plugins", plugins)
        self.call("config", "set", f"rigs.{_RIG}.options.script.command", json.dumps([str(script)]))
        self.call("config", "set", f"rigs.{_RIG}.max_polecats", str(slots))
        beads = "".join(json.dumps({"id": f"{_RIG}-{number}", "title": f"Task {number}"}) + "\n" for number in range(1, tasks + 1))
        (place / "beads.jsonl").write_text(beads)
        self.call("bead", "import", str(place / "beads.jsonl"), "--rig", _RIG)

    def call(self, *words: str) -> str:
        """Run a verb in the town."""
        return call(VERMAS, *words, cwd=self.town)

    def wrong(self) -> list[str]:
        """What a finished run should not have left, and what it should have done and did not."""
        files = call("git", "ls-tree", "--name-only", "main", cwd=self.origin).split()
        landed = sum(name.startswith("task_") for name in files)
        merges = int(call("git", "rev-list", "--count", "--first-parent", "main", cwd=self.origin)) - 1
        closed = json.loads(self.call("bead", "list", "--status", "closed", "--json"))
        rig = self.town / _RIG
        left = {
            "polecats": json.loads(self.call("polecat", "list", "--json")),
            "branches": call("git", "for-each-ref", "refs/heads/polecat", cwd=rig / "yard.git").splitlines(),
            "checkouts": [str(path) for path in (rig / "polecats").glob("*/*")],
            "trash": [str(path) for path in (rig / "trash").glob("*")],
        }
        counts = {"files on the target": landed, "commits on the target": merges, "closed beads": len(closed)}
        return [f"{what}: {count}, not {self.tasks}" for what, count in counts.items() if count != self.tasks] + [
            f"{len(found)} {what} left: {found[:3]}" for what, found in left.items() if found
        ]

    def start(self) -> subprocess.Popen[bytes]:
        """A `vermas run` in the background."""
        none = subprocess.DEVNULL
        return subprocess.Popen([VERMAS, "run"], cwd=self.town, stdin=none, stdout=none, stderr=none)

    def working(self, count: int, deadline_s: float = 120.0) -> list[dict[str, Any]]:
        """The start records of sessions whose agents run, once there are `count`."""
        until = time.monotonic() + deadline_s
        while len(found := sorted(self.town.glob(f"{_RIG}/polecats/*/.p*/shim-*.json"))) < count:
            if time.monotonic() > until:
                raise SystemExit(f"only {len(found)} of {count} sessions started")
            time.sleep(0.05)
        return [json.loads(path.read_text()) for path in found]

    def stop(self, run: subprocess.Popen[bytes]) -> None:
        """End a run in the background, and its sessions."""
        run.terminate()
        run.wait()
        self.call("polecat", "stop", "--all")


def measure(*argv: str, cwd: Path, place: Path) -> Cost:
    """Run a command to its end, then end the daemons that it left (tmux servers), so that their CPU time and that of theirs is known."""
    _reap()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        child = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        wall_s = time.perf_counter() - start
        # a zombie still tells its own time and that of the children it has waited for apart
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2].split()
        own_s, children_s = (sum(map(int, fields[first : first + 2])) * _TICK_S for first in (11, 13))
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    end_servers(place)
    _reap()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    total_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, own_s, children_s, total_s, usage.ru_maxrss / 1024, text, child.returncode)


def end_servers(place: Path) -> None:
    """End the tmux servers of the towns in `place`."""
    for socket in place.glob("**/vermas-*/*/t"):
        subprocess.run(["tmux", "-S", str(socket), "kill-server"], check=False, capture_output=True)


def _reap() -> None:
    """Wait for the orphans that this process inherits; what does not end is ended."""
    deadline = time.monotonic() + _REAP_S
    with suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
            if time.monotonic() > deadline:
                for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    os.kill(int(word), signal.SIGKILL)
            time.sleep(0.002)


def machine() -> str:
    """A line on what the figures were taken on."""
    versions = [call(*argv).strip().removeprefix("git version ") for argv in (("git", "--version"), ("tmux", "-V"))]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    python = ".".join(map(str, sys.version_info[:3]))
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return f"{date}, Linux {os.uname().release}, {os.cpu_count()} cores, Python {python}, git {versions[0]}, {versions[1]}, load {load}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown with aligned columns."""
    widths = [max(len(str(row[column])) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(str(word).ljust(width) for word, width in zip(line, widths, strict=True)) + " |" for line in lines)
