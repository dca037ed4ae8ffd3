"""What the files of a session say: where they are, whether its host lives, how it ended."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vermas import processes
from vermas.processes import ShimRecord
from vermas.types import Observation, Rig, Session
from vermas_process import output

DRIVER = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecord:
    """A session's record, as its host or (`stopped_early`) a stop that came before the start wrote it; `path` is where it was found."""

    path: str
    session: Session
    rig: str
    town_id: str
    stopped_early: bool = False
    host: ShimRecord | None = None
    supervisor: ShimRecord | None = None


def home(session: Session) -> Path:
    """The polecat's home, where the lasting files are."""
    return Path(session.locator.get("home", "/nonexistent"))


def record_path(home: Path, session_id: str) -> Path:
    """The record whose creation is the start."""
    return home / f"host-{session_id}.json"


def run_folder(rig: Rig) -> Path:
    """The folder of sockets and second records."""
    return Path(rig.run_dir, "process")


def socket_path(rig: Rig, session_id: str) -> Path:
    """Where the host of a live session listens."""
    return run_folder(rig) / f"{session_id}.s"


def find(rig: Rig, session: Session) -> HostRecord | None:
    """The record of a session: in the polecat's home or, when an agent removed that, in the run directory. None: never started here.

    Raises OSError when it cannot be looked at.
    """
    for path in (record_path(home(session), session.id), run_folder(rig) / f"{session.id}.json"):
        record = read(path)
        if record and (record.town_id, record.session.id, record.session.polecat_id) == (rig.town_id, session.id, session.polecat_id):
            return record
    return None


def read(path: Path) -> HostRecord | None:
    """The record in a file; None when it is missing or no record."""
    data = read_object(path)
    try:
        session = make_session(str(data["polecat_id"]), int(data["session_no"]), str(data["home"]))
        common: dict[str, Any] = {"path": str(path), "session": session, "rig": str(data["rig"]), "town_id": str(data["town_id"])}
        if data.get("stopped_early"):
            return HostRecord(**common, stopped_early=True)
        boot = str(data["boot_id"])
        host = ShimRecord(
            id=session.id, pid=int(data["pid"]), start_ticks=int(data["start_ticks"]), boot_id=boot, agent_pid=int(data["child_pid"])
        )
        supervisor = ShimRecord(
            id=session.id,
            pid=int(data["child_pid"]),
            start_ticks=int(data["child_start_ticks"]),
            boot_id=boot,
            agent_pid=int(data["child_pid"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return HostRecord(**common, host=host, supervisor=supervisor)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object, empty when it is missing or torn."""
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def make_session(polecat_id: str, session_no: int, home: str) -> Session:
    """The handle of a session of this driver."""
    return Session(driver=DRIVER, id=f"{polecat_id}-{session_no}", polecat_id=polecat_id, session_no=session_no, locator={"home": home})


def observe(rig: Rig, session: Session) -> Observation:
    """How a session fares, by its files."""
    try:
        record = find(rig, session)
        if record is None:
            return Observation(state="gone", why="this runtime has no record of it")
        if record.stopped_early:
            return Observation(state="gone", why="it was stopped before it started")
        return _observe(rig, record)
    except OSError as error:
        return Observation(state="unknown", why=f"cannot read {error.filename or 'its files'}: {error.strerror}")


def _observe(rig: Rig, record: HostRecord) -> Observation:
    session = record.session
    alive = processes.lock_held(record.path)
    ended = read_object(home(session) / f"ended-{session.id}.json")  # after the lock: a host writes this before it lets go
    if ended:
        return Observation(state="exited", exit_code=ended["code"], signal=ended["signal"], output_bytes=ended["output_bytes"])
    printed = output.total(home(session), session.id)
    if alive:
        attached = socket_path(rig, session.id).with_suffix(".a").exists()
        return Observation(state="alive", output_bytes=printed, attached=attached)
    return _without_host(record, printed)


def _without_host(record: HostRecord, printed: int) -> Observation:
    """The host was killed: its terminal is gone, so the supervisor ends the session and records it."""
    pidfd = processes.open_pidfd(record.supervisor) if record.supervisor else None
    if pidfd is not None:
        os.close(pidfd)
        return Observation(state="alive", output_bytes=printed, why="its host was killed; the supervisor is ending it")
    ended = supervisor_exit(record.session)
    if ended is not None and (ended.code is None) != (ended.signal is None):
        return Observation(state="exited", exit_code=ended.code, signal=ended.signal, output_bytes=printed, why="its host was killed")
    return Observation(state="gone", output_bytes=printed, why="its host and its supervisor were killed")


def supervisor_exit(session: Session) -> processes.ExitRecord | None:
    """What the supervisor recorded about the end of this session."""
    ended = processes.read_exit(home(session) / f"exit-{session.session_no}.json")
    return ended if ended is not None and ended.id == session.id else None


def is_over(rig: Rig, session: Session) -> bool:
    """Whether nothing will be printed any more."""
    record = find(rig, session)
    return record is None or record.stopped_early or not processes.lock_held(record.path)


def discover(rig: Rig) -> list[Session]:
    """The live sessions of a rig, from the records in the homes and in the run directory. Raises OSError when one cannot be read."""
    places = [*Path(rig.path, "polecats").glob("*/.*/host-*.json"), *run_folder(rig).glob("*.json")]
    found = {}
    for path in places:
        record = read(path)
        if (
            record
            and (record.town_id, record.rig) == (rig.town_id, rig.name)
            and observe(rig, record.session).state in ("alive", "unknown")
        ):
            found[record.session.id] = record.session
    return [found[key] for key in sorted(found)]
