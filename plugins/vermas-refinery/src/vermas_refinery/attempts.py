"""One run of a check on disk: its directory, its supervised process, and what can be known of both from a fresh process.

A gate is the directory of one candidate and one configuration; `<gate>/<n>` is its n-th attempt with the files `spec` (removed by the
supervisor when it has read it), `started`, `record`, `exit`, `lock`, `log`, `index` and the checkout `tree`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from vermas import processes, trash
from vermas.git import run
from vermas.git.files import make_git_dir

_GRACE_S = 5.0
_CHECKOUT_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """The files of one attempt; `id` names it to the supervisor, `tag` marks its processes."""

    gate: str
    number: int
    tag: str

    @property
    def id(self) -> str:
        return f"{os.path.basename(self.gate)}-{self.number}"

    def file(self, name: str) -> str:
        return os.path.join(self.gate, str(self.number), name)


def latest(gate: str, tag: str) -> Attempt | None:
    """The newest attempt that was at least prepared."""
    numbers = [int(name) for name in _names(gate) if name.isdigit()]
    return Attempt(gate, max(numbers), f"{tag}/{max(numbers)}") if numbers else None


def prepare(attempt: Attempt, vault: str, commit: str, trash_dir: str) -> None:
    """Check `commit` out into a clean repository of its own, so that what a check does with git stays there. One git process."""
    trash.discard(attempt.file(""), trash_dir, attempt.id)
    tree, own = attempt.file("tree"), attempt.file("tree/.git")
    os.makedirs(tree, mode=0o700)
    make_git_dir(own, os.path.join(vault, "objects"), commit, like=commit)
    run(own, "reset", "-q", "--hard", "--no-recurse-submodules", env={"GIT_WORK_TREE": tree}, timeout_s=_CHECKOUT_TIMEOUT_S)
    shutil.copy2(os.path.join(own, "index"), attempt.file("index"))


def start(attempt: Attempt, argv: list[str], env: Mapping[str, str], timeout_s: float, poke: str) -> int:
    """Start the check under the supervisor, detached; returns its pid. Twice is harmless: the second one finds the lock held."""
    processes.write_spec(
        attempt.file("spec"),
        {
            "id": attempt.id,
            "lock": attempt.file("lock"),
            "record": attempt.file("record"),
            "exit": attempt.file("exit"),
            "argv": argv,
            "env": {**env, "VERMAS_SESSION": attempt.tag},
            "cwd": attempt.file("tree"),
            "stdin": None,
            "output": attempt.file("log"),
            "grace_s": _GRACE_S,
            "poke": poke,
            "timeout_s": timeout_s,
        },
    )
    child = subprocess.Popen(
        processes.shim_argv(attempt.file("spec")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    threading.Thread(target=child.wait, name=f"reap {attempt.id}", daemon=True).start()
    processes.atomic_write(attempt.file("started"), json.dumps({"pid": child.pid, "ticks": _start_ticks(child.pid)}).encode())
    return child.pid


def running_pid(attempt: Attempt) -> int | None:
    """The supervisor's pid while it lives (0 when it lives but is not known), else None."""
    if processes.lock_held(attempt.file("lock")):
        record = processes.read_record(attempt.file("record"))
        return record.pid if record else 0
    try:
        with open(attempt.file("started"), "rb") as file:
            started = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    ticks = _start_ticks(started["pid"])
    return int(started["pid"]) if ticks and ticks == started["ticks"] else None


def was_started(attempt: Attempt) -> bool:
    """Whether a supervisor may have begun: after a crash before that, the attempt is simply made again."""
    return os.path.exists(attempt.file("started")) or os.path.exists(attempt.file("record"))


def changed_files(attempt: Attempt, vault: str) -> list[str]:
    """The tracked files that differ from what was checked out."""
    env = {"GIT_WORK_TREE": attempt.file("tree"), "GIT_INDEX_FILE": attempt.file("index")}
    return run(vault, "diff", "--no-ext-diff", "--no-renames", "--name-only", "--ignore-submodules=all", "-z", env=env).fields()


def end(attempt: Attempt) -> None:
    """End whatever still runs of an attempt, its supervisor included."""
    record = processes.read_record(attempt.file("record"))
    if record is not None and processes.lock_held(attempt.file("lock")):
        processes.terminate(record, _GRACE_S)
    processes.sweep(attempt.tag, _GRACE_S)


def _start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it ended (a zombie has). Linux; elsewhere always 0."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in b"ZX" else int(fields[19])


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
