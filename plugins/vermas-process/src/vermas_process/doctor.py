"""What this runtime needs of the machine."""

from __future__ import annotations

import os
import stat
import sys

from vermas.types import Check, Rig
from vermas_process import looking

SOCKET_BYTES = 107 if sys.platform == "linux" else 103


def check(rig: Rig) -> list[Check]:
    """Three checks: pseudo-terminals, the run directory, the kernel."""
    return [_terminals(), _run_directory(rig), _kernel()]


def _terminals() -> Check:
    try:
        for fd in os.openpty():
            os.close(fd)
    except OSError as error:
        return Check(
            name="process: terminals",
            status="error",
            message=f"no pseudo-terminal: {error.strerror}",
            hint="mount devpts; see `kernel.pty.max`",
        )
    return Check(name="process: terminals", status="ok", message="pseudo-terminals can be opened")


def _run_directory(rig: Rig) -> Check:
    name, hint = "process: run directory", "set XDG_RUNTIME_DIR to a short directory of yours with mode 0700"
    longest = os.fsencode(looking.socket_path(rig, "p999999-999"))
    if len(longest) + 8 > SOCKET_BYTES:
        return Check(name=name, status="error", message=f"{rig.run_dir} is too long for sockets", hint=hint)
    try:
        found = os.lstat(rig.run_dir)
    except FileNotFoundError:
        return Check(name=name, status="ok", message=f"{rig.run_dir} is made when it is needed")
    except OSError as error:
        return Check(name=name, status="error", message=f"{rig.run_dir}: {error.strerror}", hint=hint)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        return Check(name=name, status="error", message=f"{rig.run_dir} is open to others", hint=hint)
    return Check(name=name, status="ok", message=rig.run_dir)


def _kernel() -> Check:
    name = "process: kernel"
    if not hasattr(os, "pidfd_open") or not os.path.exists("/proc/self/environ"):
        hint = "use Linux 5.3 or later where agents leave daemons behind"
        return Check(name=name, status="warning", message="no pidfd or /proc: a stop reaches process groups only", hint=hint)
    return Check(name=name, status="ok", message="pidfd and /proc are there")
