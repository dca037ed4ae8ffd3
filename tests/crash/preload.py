"""The crashpoint library, compiled for one worker, and the process from which its victims are forked."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODES = ("self", "root", "group")
_FIELDS = struct.Struct("=6q")
_SIZE = 8 * (6 + 256)


def compiler() -> str | None:
    """The C compiler of this machine."""
    return shutil.which("cc") or shutil.which("gcc")


class Preload:
    """The shared library in a directory of its own, with its counters beside it."""

    def __init__(self, directory: Path) -> None:
        self.library = directory / "crashpoint.so"
        self._counters = directory / "crashpoint.so.shm"
        source = Path(__file__).with_name("crashpoint.c")
        subprocess.run([compiler() or "cc", "-shared", "-fPIC", "-O2", "-o", self.library, source, "-ldl", "-lpthread"], check=True)
        self._counters.write_bytes(bytes(_SIZE))

    def arm(self, at: int, mode: str) -> None:
        """Count anew, and kill before call number `at` (0: never)."""
        with self._counters.open("r+b") as file:
            file.write(_FIELDS.pack(0, at, MODES.index(mode), 0, 0, 0))

    @property
    def seen(self) -> int:
        """How many calls were counted."""
        return int(_FIELDS.unpack(self._counters.read_bytes()[: _FIELDS.size])[0])

    @property
    def fired(self) -> bool:
        """Whether the kill happened."""
        return bool(_FIELDS.unpack(self._counters.read_bytes()[: _FIELDS.size])[4])


@dataclass(frozen=True)
class Ended:
    """How an order ended: the exit code, or minus the signal; and what it printed."""

    code: int
    out: str


class Zygote:
    """The process that has imported VerMAS and forks a child per order (`zygote.py`)."""

    def __init__(self, directory: Path, preload: Preload, env: dict[str, str]) -> None:
        self._out = directory / "out"
        self._process = subprocess.Popen(
            [sys.executable, "-B", Path(__file__).with_name("zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**env, "LD_PRELOAD": str(preload.library), "CRASH_IDLE": "1"},
        )

    def run(self, do: str, argv: list[Any], cwd: Path, *, join: bool = False) -> Ended:
        """Run one order to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"do": do, "argv": argv, "cwd": str(cwd), "join": join, "out": str(self._out)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that forks victims ended: {self._process.wait()}")
        return Ended(os.waitstatus_to_exitcode(int(line)), self._out.read_text(errors="replace"))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
