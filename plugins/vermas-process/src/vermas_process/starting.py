"""Starting a session's host, and the command that attaches to it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from vermas import processes
from vermas.errors import PluginError
from vermas.types import Launch, Polecat, Rig, Sandbox, Session
from vermas_process import Options, attach, host, looking

ANSWER_S = 20.0
# The agent's environment is in the supervisor's spec; this is what it takes to run Python.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE")


def start(rig: Rig, polecat: Polecat, sandbox: Sandbox, launch: Launch) -> Session:
    """The running session, started now or before. Raises PluginError when it cannot be started."""
    session = looking.make_session(polecat.id, polecat.session_no, polecat.home)
    record = looking.find(rig, session)
    if record is None:
        looking.run_folder(rig).mkdir(mode=0o700, exist_ok=True)
        verdict = _run_host(_host_argv(rig, session, sandbox, launch))
        if verdict not in ("ok", "exists"):
            raise PluginError(f"process: cannot start session {session.id}: {verdict}")
        record = looking.find(rig, session)
    if record is not None and record.stopped_early:
        raise PluginError(f"process: session {session.id} was stopped before it started; start the next one")
    return session


def _host_argv(rig: Rig, session: Session, sandbox: Sandbox, launch: Launch) -> list[str]:
    options = rig.options.get(looking.DRIVER) or Options()
    return [
        *(sys.executable, "-I", "-S", processes.quick_start(host.__file__)),
        *(session.locator["home"], session.id, str(looking.run_folder(rig) / session.id), json.dumps(identity(rig, session))),
        *(str(options.log_bytes), str(options.rows), str(options.columns), sandbox.path),
        *launch.argv,
    ]


def identity(rig: Rig, session: Session) -> dict[str, str | int]:
    """What a record begins with: whose session it is."""
    return {
        "rig": rig.name,
        "town_id": rig.town_id,
        "polecat_id": session.polecat_id,
        "session_no": session.session_no,
        "home": session.locator["home"],
    }


def _run_host(argv: list[str]) -> str:
    """Start a host; its answer. It leaves this process at once, so there is no child to wait for."""
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env["TERM"] = "xterm-256color"  # what agents may print on the pty; `vermas polecat attach` passes it on
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd="/", start_new_session=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 (for the type checker)
        return _first_line(process.stdout.fileno())


def _first_line(fd: int) -> str:
    deadline, said = time.monotonic() + ANSWER_S, b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while b"\n" not in said or said.startswith(b"Traceback"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return f"its host did not answer in {ANSWER_S:g} s"
        piece = os.read(fd, 4096)
        if not piece:
            break
        said += piece
    text = said.decode("utf-8", "replace").strip()
    return text.removeprefix("error ").splitlines()[-1] if text else "its host died before it answered"


def attach_argv(socket: Path) -> list[str]:
    """The command that shows a live session in the user's terminal."""
    return [sys.executable, "-I", "-S", processes.quick_start(attach.__file__), str(socket)]
