"""Waits for orders on standard input and runs each in a process forked from itself, which has only imported the code.

An order is a line of JSON, `{"do": "vermas"|"settle", "argv": [...], "cwd": path, "join": bool, "out": path}`; the answer is the wait
status. With `join` the child takes part in the count of the preloaded crashpoint library. Started by `preload.Zygote`.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
from typing import Any

#: What the verbs under kill import, so that their processes need not.
_IMPORTED = (
    "settle",
    "vermas.cli.app",
    "vermas.cli.polecat",
    "vermas.cli.run",
    "vermas_agents.script",
    "vermas_process.starting",
    "vermas_process.stopping",
    "vermas_refinery",
    "vermas_slots",
    "vermas_watchdog",
    "vermas_worktree.worktree",
)


def main() -> None:
    """One order after the other, until the end of standard input."""
    for name in _IMPORTED:
        importlib.import_module(name)
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    del os.environ["CRASH_IDLE"]
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _obey(order, library)
        print(os.waitpid(child, 0)[1], flush=True)


def _obey(order: dict[str, Any], library: ctypes.CDLL) -> None:
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    for number in (1, 2):
        os.dup2(out, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.setsid()
    os.chdir(order["cwd"])
    if order["join"]:
        library.crash_join()
    else:
        del os.environ["LD_PRELOAD"]
    code = 70
    try:
        if order["do"] == "settle":
            code = importlib.import_module("settle").settle(*order["argv"])
        else:
            sys.argv = order["argv"]
            code = importlib.import_module("vermas.cli").main()
        sys.stdout.flush()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
