"""Ending a session: the supervisor ends the tree, then the host ends by itself."""

from __future__ import annotations

import json
import os
import signal

from vermas import processes
from vermas.types import Rig, Session
from vermas_process import looking, starting

HOST_FINISH_S = 5.0


def stop(rig: Rig, session: Session, grace_s: float) -> None:
    """End this session and nothing else; one that never started here never will."""
    record = looking.find(rig, session) or _forbid_start(rig, session)
    if record is None or record.supervisor is None or record.host is None:
        return
    processes.terminate(record.supervisor, grace_s)
    _end_host(record.host)
    if looking.supervisor_exit(session) is None:  # it was killed, and may have left processes
        processes.sweep(f"{rig.town_id}/{session.polecat_id}/{session.session_no}", grace_s)
    for suffix in (".json", ".s", ".a"):
        looking.socket_path(rig, session.id).with_suffix(suffix).unlink(missing_ok=True)


def _forbid_start(rig: Rig, session: Session) -> looking.HostRecord | None:
    """Take the place of the record, so that a start under way at this moment comes to nothing; the record when it was quicker."""
    path = looking.record_path(looking.home(session), session.id)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return looking.find(rig, session)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with open(fd, "w") as file:
        json.dump({**starting.identity(rig, session), "stopped_early": True}, file)
    return None


def _end_host(host: processes.ShimRecord) -> None:
    pidfd = processes.open_pidfd(host)
    if pidfd is None:
        return
    try:
        if not processes.wait_ended([pidfd], HOST_FINISH_S):
            processes.send(pidfd, signal.SIGKILL)
            processes.wait_ended([pidfd], HOST_FINISH_S)
    finally:
        os.close(pidfd)
