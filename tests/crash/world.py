"""A town at one fixed path per worker (VerMAS records absolute paths): its states before each verb, copied into place for each point."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from vermas.testing.reaper import end_marked, marked
from vermas.testing.town import git, make_repository

from .preload import Ended, Preload, Zygote

RIG = "app"
#: Text that is harmless as data: run by a shell, by tmux, by git's option parser or as a rich markup it would leave a file `canary`.
HOSTILE = "--upload-pack=touch${IFS}canary `touch canary` $(touch canary) #(touch canary) ;touch canary; [bold]x[/] \\e]0;x\\a ../../canary"
_CHECK = "test -f README.md && ! test -f red.txt"


@dataclass(frozen=True)
class Ledger:
    """What must never be lost: commits, and files by the name of their content (git blobs)."""

    commits: frozenset[str]
    blobs: frozenset[str]


class World:
    """Everything of one worker. `restore(state)` puts the town and its origin back to a state. `calls`: how many the last verb made."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp"))
        self.town, self.origin, self.log = self.base / "town", self.base / "origin", self.base / "log"
        for name in ("home", "run", "states", "log"):
            (self.base / name).mkdir(mode=0o700)
        shutil.copy2(Path(__file__).with_name("agent.sh"), self.base / "agent.sh")
        self.preload = Preload(self.base)
        self.program = str(Path(sys.executable).with_name("vermas"))
        env = {"PATH": os.environ["PATH"], "HOME": str(self.base / "home"), "XDG_RUNTIME_DIR": str(self.base / "run"), "LC_ALL": "C.UTF-8"}
        self.zygote = Zygote(self.base, self.preload, env)
        self.tag = "VERMAS_SESSION=/"
        self.bystanders: list[subprocess.Popen[bytes]] = []
        self.calls = 0
        self._ledgers: dict[str, Ledger] = {}
        self._make_states()
        others = (f"{self.tag}p11/1", f"{self.tag[:-1]}x/p1/1")
        self.bystanders = [
            subprocess.Popen(["sleep", "100000"], env={**env, "VERMAS_SESSION": tag.partition("=")[2]}, cwd="/") for tag in others
        ]

    def close(self) -> None:
        """End everything, victims that still run included, and remove it."""
        for process in self.bystanders:
            process.kill()
            process.wait()
        end_marked([self.tag.encode(), os.fsencode(self.base)])
        self.zygote.close()
        shutil.rmtree(self.base)

    def vermas(self, *words: str, join: bool = False) -> Ended:
        """Type a command line in the town."""
        return self.zygote.run("vermas", [self.program, *words], self.town, join=join)

    def settle(self, *, agents_end: bool) -> Ended:
        """A pass of the reconciler and a second one; with `agents_end` the first lasts until the agents have ended."""
        return self.zygote.run("settle", [str(self.town), RIG, agents_end], self.town)

    def processes(self) -> set[int]:
        """Every process of the town: agents by their tag, supervisors and hosts by the paths in their command line."""
        mine = {process.pid for process in self.bystanders}
        return set(marked([self.tag.encode(), os.fsencode(self.town)])) - mine - {os.getpid()}

    def restore(self, state: str) -> None:
        """End what runs and begin again from a state."""
        if self.processes():
            end_marked([os.fsencode(self.town)])
        for path in (self.town, self.origin, self.log, self.base / "run"):
            shutil.rmtree(path, ignore_errors=True)
        subprocess.run(["cp", "-a", *(self.base / "states" / state).iterdir(), self.base], check=True)
        for path in (self.log, self.base / "run"):
            path.mkdir(mode=0o700)
        self._keep_identity()

    def start_agent(self) -> None:
        """Have an agent at work, which has committed and left a file uncommitted."""
        self._expect("sling", self.bead)
        while not (self.log / "busy").exists():
            time.sleep(0.01)

    def mode(self, mode: str) -> None:
        """What the agent does: see `agent.sh`."""
        (self.base / "mode").write_text(mode)

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Ask the database without VerMAS."""
        db = sqlite3.connect(f"file:{self.town}/.vermas/town.db?mode=ro", uri=True)
        db.row_factory = sqlite3.Row
        try:
            return db.execute(query, values).fetchall()
        finally:
            db.close()

    def last_event(self) -> int:
        """The number of the newest event: whatever VerMAS does, it writes one."""
        return int(self.rows("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    @property
    def sandbox(self) -> Path:
        return self.town / RIG / "polecats" / "slot0" / RIG

    @property
    def vault(self) -> Path:
        return self.town / RIG / "repo.git"

    @property
    def yard(self) -> Path:
        return self.town / RIG / "yard.git"

    def ledger(self) -> Ledger:
        """What the agent made in its sandbox: its commits and its files, tracked or not."""
        if not self.sandbox.exists():
            return Ledger(frozenset(), frozenset())
        commits = git(self.sandbox, "rev-list", "HEAD").split()
        files = git(self.sandbox, "ls-files", "-z", "--cached", "--others").split("\0")
        blobs = git(self.sandbox, "hash-object", "--no-filters", "--", *(name for name in files if name)).split()
        staged = [line.split()[1] for line in git(self.sandbox, "ls-files", "--stage").splitlines()]
        return Ledger(frozenset(commits), frozenset(blobs + staged))

    def ledger_of(self, state: str) -> Ledger:
        """The ledger of a state that was just restored."""
        if state not in self._ledgers:
            self._ledgers[state] = self.ledger()
        return self._ledgers[state]

    def _make_states(self) -> None:
        make_repository(self.origin, {"README.md": "hello\n", "src/a.txt": "a\n", "src/b.txt": "b\n"})
        self.town.mkdir()
        self._expect("init")
        self.tag = f"VERMAS_SESSION={(self.town / '.vermas' / 'town-id').read_text().strip()}/"
        plugins = "slots,worktree,process,script,watchdog,refinery"
        self._expect("rig", "add", RIG, str(self.origin), "--prefix", RIG, "--check", _CHECK, "--agent", "script", "--plugins", plugins)
        self._expect("config", "set", f"rigs.{RIG}.options.script.command", f'["{self.base}/agent.sh"]')
        self._expect("bead", "create", "--rig", RIG, "-d", HOSTILE, "--", f"Do it {HOSTILE}")
        self._save("ready")
        self._submit("work", "submitted")
        self._submit("red", "submitted-red")
        self.restore("ready")
        self.mode("idle")
        self._expect("sling", self.bead)
        self._expect("polecat", "stop", "p1")
        self._save("clean")
        (self.sandbox / "done.txt").write_text("committed, not submitted\n")
        git(self.sandbox, "add", "done.txt")
        git(self.sandbox, "commit", "-q", "-m", "half of it")
        (self.sandbox / "src" / "a.txt").write_text("changed, not staged\n")
        (self.sandbox / "src" / "b.txt").write_text("staged\n")
        git(self.sandbox, "add", "src/b.txt")
        (self.sandbox / "src" / "b.txt").write_text("changed after it was staged\n")
        (self.sandbox / "new").mkdir()
        (self.sandbox / "new" / "untracked.txt").write_text("untracked\n")
        self._save("dirty")

    def _submit(self, mode: str, state: str) -> None:
        self.restore("ready")
        self.mode(mode)
        self._expect("sling", self.bead)
        while self.processes():
            time.sleep(0.02)
        self._save(state)

    @property
    def bead(self) -> str:
        return str(self.rows("SELECT id FROM beads")[0]["id"])

    def _expect(self, *words: str) -> None:
        ended = self.vermas(*words)
        if ended.code != 0:
            raise RuntimeError(f"vermas {' '.join(words)} exited with {ended.code}: {ended.out}")

    def _save(self, state: str) -> None:
        place = self.base / "states" / state
        place.mkdir()
        subprocess.run(["cp", "-a", self.town, self.origin, place], check=True)

    def _keep_identity(self) -> None:
        """A copied checkout is another directory to the file system; the core knows it by device and inode."""
        if self.sandbox.exists():
            info = self.sandbox.stat()
            db = sqlite3.connect(self.town / ".vermas" / "town.db")
            with db:
                db.execute("UPDATE polecats SET device = ?, inode = ? WHERE gone = 0", (info.st_dev, info.st_ino))
            db.close()
