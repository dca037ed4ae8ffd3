"""A real town with real rigs, driven through the `vermas` command with a scripted agent; everything it started is ended afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vermas.cli import main
from vermas.testing import fake_agent
from vermas.testing.plugin import OriginFactory
from vermas.testing.reaper import end_marked
from vermas.testing.town import git
from vermas.town import Town, create

VERMAS = (sys.executable, "-m", "vermas")
RUNTIMES = ["process", pytest.param("tmux", marks=pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"))]


@dataclass(frozen=True)
class Fleet:
    """A town, the directory of its origins, and the environment in which commands run."""

    town: Town
    origins: Path
    env: dict[str, str]
    make_origin: OriginFactory

    def vermas(self, *words: str, expect: int | None = 0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        done = subprocess.run(
            [*VERMAS, "-C", self.town.root, *words], input=stdin, capture_output=True, text=True, env=self.env, timeout=90, check=False
        )
        assert expect is None or done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command; the caller waits for it."""
        return subprocess.Popen(
            [*VERMAS, "-C", self.town.root, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env
        )

    def on_a_terminal(self, *words: str, expect: int = 0) -> str:
        """What a command line sends to a terminal; the environment says which (TERM, COLUMNS)."""
        master, slave = pty.openpty()
        shown = bytearray()

        def read() -> None:
            with contextlib.suppress(OSError):  # the other side is closed
                while data := os.read(master, 65536):
                    shown.extend(data)

        reader = threading.Thread(target=read)
        reader.start()
        code = subprocess.call([*VERMAS, "-C", self.town.root, *words], stdin=slave, stdout=slave, stderr=slave, env=self.env, timeout=90)
        os.close(slave)
        reader.join()
        os.close(master)
        assert code == expect, shown.decode()
        return shown.decode()

    def json(self, *words: str) -> Any:
        return json.loads(self.vermas(*words, "--json").stdout)

    def rig(
        self,
        name: str = "app",
        runtime: str = "process",
        *,
        check: str = "true",
        agent: list[str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> Path:
        """A rig with an origin of its own; its agent is the scripted one unless a command is given."""
        origin = self.make_origin(name, files)
        plugins = f"slots,worktree,{runtime},script,watchdog,refinery"
        self.vermas("rig", "add", name, str(origin), "--prefix", name, "--check", check, "--agent", "script", "--plugins", plugins)
        self.vermas("config", "set", f"rigs.{name}.options.script.command", json.dumps(agent or fake_agent.command()))
        return origin

    def bead(self, title: str, *steps: str, rig: str = "app", deps: tuple[str, ...] = ()) -> str:
        """A bead whose scripted agent plays `steps`; its id."""
        text = "\n".join(["```agent", *steps, "```"]) if steps else ""
        needs = [word for dep in deps for word in ("--dep", dep)]
        made = self.vermas("bead", "create", title, "--rig", rig, "-d", text, *needs, "--json")
        return str(json.loads(made.stdout)["id"])

    def status_of(self, bead_id: str) -> str:
        return str(self.json("bead", "show", bead_id)["status"])

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Look into the database with nothing of VerMAS between."""
        db = sqlite3.connect(f"file:{self.town.db}?mode=ro", uri=True)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def kinds(self, bead_id: str) -> list[str]:
        """The kinds of a bead's events, in order."""
        return [kind for (kind,) in self.query("SELECT kind FROM events WHERE bead_id = ? ORDER BY seq", bead_id)]


@pytest.fixture
def fleet(tmp_path: Path, vermas_origin: OriginFactory) -> Iterator[Fleet]:
    """A town without rigs."""
    short = tempfile.mkdtemp(prefix="vt-", dir="/tmp")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("VERMAS_", "GIT_", "TMUX", "PYTHON"))}
    env |= {"XDG_RUNTIME_DIR": short, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONWARNINGS": "error", "COLUMNS": "200"}
    before, os.environ["XDG_RUNTIME_DIR"] = os.environ.get("XDG_RUNTIME_DIR"), short
    town = create(tmp_path / "hq")
    town_id, run_dir = town.id, town.run_dir
    if before is None:
        del os.environ["XDG_RUNTIME_DIR"]
    else:
        os.environ["XDG_RUNTIME_DIR"] = before
    yield Fleet(town=town, origins=tmp_path / "origins", env=env, make_origin=vermas_origin)
    end_marked([f"VERMAS_SESSION={town_id}/".encode(), os.fsencode(run_dir)])
    shutil.rmtree(short, ignore_errors=True)


@dataclass(frozen=True)
class Desk(Fleet):
    """A fleet whose commands run in this process: quicker, and with this process's plugins, deadlines and retries."""

    capsys: pytest.CaptureFixture[str]

    def vermas(self, *words: str, expect: int | None = 0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end. Signal handlers are put back."""
        assert stdin is None, "this process has no standard input to give"
        self.capsys.readouterr()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = main(["-C", self.town.root, *words])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        printed = self.capsys.readouterr()
        assert expect is None or code == expect, f"exit {code}\n{printed.out}\n{printed.err}"
        return subprocess.CompletedProcess(words, code, printed.out, printed.err)


@pytest.fixture
def desk(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    """A town without rigs, driven in this process."""
    for name in set(os.environ) - set(fleet.env):
        monkeypatch.delenv(name)
    for name, value in fleet.env.items():
        monkeypatch.setenv(name, value)
    return Desk(fleet.town, fleet.origins, fleet.env, fleet.make_origin, capsys)


@pytest.fixture
def log() -> Callable[[Path], list[str]]:
    """The subjects of an origin's target branch, the newest first, merges left out."""

    def subjects(origin: Path) -> list[str]:
        return git(origin, "log", "--no-merges", "--format=%s", "main").splitlines()

    return subjects
