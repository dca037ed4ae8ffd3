"""Start, observe, stop and find sessions."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from vermas import processes
from vermas.types import Launch, Observation, Polecat, Rig, Sandbox, Session
from vermas_tmux import log
from vermas_tmux.client import ACT_S, TmuxError, Unreachable, ask, literal, shell_literal
from vermas_tmux.options import Options
from vermas_tmux.panes import Pane, find_pane, kill_pane, list_panes
from vermas_tmux.server import configuration, socket_of

DRIVER = "tmux"
_LEAVE_S = 2.0


def options_of(rig: Rig) -> Options:
    """The rig's options of this plugin."""
    options = rig.options.get(DRIVER)
    return options if isinstance(options, Options) else Options()


def handle(socket: str, slot: str, session_id: str) -> Session:
    """The durable handle: the same whenever and by whomever it is made."""
    polecat_id, _, number = session_id.rpartition("-")
    return Session(driver=DRIVER, id=session_id, polecat_id=polecat_id, session_no=int(number), locator={"socket": socket, "slot": slot})


def home_of(rig: Rig, session: Session) -> Path:
    """The home of the session's polecat, with its records and logs, or where it is kept when the polecat is gone. Holds also after the
    town was moved."""
    home = Path(rig.path, "polecats", session.locator["slot"], f".{session.polecat_id}")
    archived = Path(rig.town, ".vermas", "archive", session.polecat_id)
    return archived if not home.exists() and archived.exists() else home


def start(rig: Rig, polecat: Polecat, sandbox: Sandbox, launch: Launch) -> Session:
    """Make the tmux session, tagged and logged, in one request; find it when it is there already."""
    socket = socket_of(rig)
    session = handle(socket, polecat.slot.name, f"{polecat.id}-{polecat.session_no}")
    if processes.read_exit(Path(polecat.home, f"exit-{polecat.session_no}.json")) is not None:
        return session
    name = f"polecat-{rig.name}-{polecat.slot.name}"
    conf = configuration(rig)
    give_up = time.monotonic() + _LEAVE_S
    retries = 1
    while True:
        try:
            ask(socket, *_birth(rig, polecat, sandbox, launch, session, name), conf=conf, deadline_s=ACT_S)
            return session
        except Unreachable:
            raise
        except TmuxError as error:
            refusal = error
        panes = list_panes(socket, ACT_S)
        if any((pane.town_id, pane.session_id) == (rig.town_id, session.id) for pane in panes):
            return session
        if "duplicate session" in str(refusal):
            name = _other_name(rig, polecat, session, panes, name, give_up)
        elif retries:
            retries -= 1  # right after the end of a server the next one often fails once
        else:
            raise refusal


def _other_name(rig: Rig, polecat: Polecat, session: Session, panes: Sequence[Pane], name: str, give_up: float) -> str:
    """What to do about a name in use: wait while the slot's former session leaves, then give way with another name; raise when it lives.

    Names also clash without a former session: a human has split its window, or rig "a" has a slot "b-c" and rig "a-b" a slot "c".
    """
    slot = (rig.town_id, rig.name, polecat.slot.name)
    former = [pane for pane in panes if (pane.town_id, pane.rig, pane.slot) == slot and not pane.dead]
    if former and time.monotonic() < give_up:
        time.sleep(0.01)
        return name
    for pane in former:
        if _alive(pane):
            raise TmuxError(f"cannot start {session.id}: {pane.session_id} still lives in slot {pane.slot}; stop it first")
    return f"{name}_{session.id}"


def _birth(rig: Rig, polecat: Polecat, sandbox: Sandbox, launch: Launch, session: Session, name: str) -> list[list[str]]:
    """The commands of one request: tmux serves nobody else in between, so a session is never seen without its options."""
    target = f"={name}:"
    options = options_of(rig)
    # One word alone would go through a shell.
    argv = launch.argv if len(launch.argv) > 1 else ("env", "--", *launch.argv)
    marks = {"town": rig.town_id, "rig": rig.name, "slot": polecat.slot.name, "session": session.id}
    size = ["-x", str(options.columns), "-y", str(options.lines)]
    commands = [
        ["set-option", "-g", "history-limit", str(options.history_limit)],
        ["new-session", "-d", "-s", name, *size, "-c", literal(sandbox.path), "--", *argv],
        *(["set-option", "-p", "-t", target, f"@vermas_{key}", value] for key, value in marks.items()),
    ]
    if options.log:
        file = shell_literal(str(log.log_path(polecat.home, polecat.session_no)))
        commands.append(["pipe-pane", "-t", target, f"umask 077; exec cat >> {file}"])
    return commands


def observe(rig: Rig, sessions: Sequence[Session]) -> dict[str, Observation]:
    """One `list-panes` per socket, normally one; logs are kept within their size on the way."""
    found: dict[str, Observation] = {}
    keep_bytes = options_of(rig).log_bytes
    for socket in {session.locator["socket"] for session in sessions}:
        mine = [session for session in sessions if session.locator["socket"] == socket]
        try:
            panes = {pane.session_id: pane for pane in list_panes(socket) if pane.town_id == rig.town_id}
        except TmuxError as error:
            found.update({session.id: Observation(state="unknown", why=str(error)) for session in mine})
            continue
        for session in mine:
            found[session.id] = _observation(rig, session, panes.get(session.id), keep_bytes)
    return found


def _observation(rig: Rig, session: Session, pane: Pane | None, keep_bytes: int) -> Observation:
    home = home_of(rig, session)
    output = log.log_path(home, session.session_no)
    if pane is not None and _alive(pane):
        log.trim(output, keep_bytes)
        return Observation(state="alive", output_bytes=log.size(output), attached=pane.attached)
    if supervisor_lives(home, session):
        return Observation(
            state="unknown", output_bytes=log.size(output), why="its supervisor lives, but not in tmux: the pane or the server is gone"
        )
    return Observation(state="gone", output_bytes=log.size(output))


def supervisor_lives(home: Path, session: Session) -> bool:
    """Whether the session's supervisor runs, by its own record; False also when it has not written it yet."""
    record = processes.read_record(home / f"shim-{session.session_no}.json")
    fd = None if record is None else processes.open_pidfd(record)
    if fd is None:
        return False
    os.close(fd)
    return True


def stop(rig: Rig, session: Session, grace_s: float) -> None:
    """End the session by its supervisor, or by its pane before there is one on record, then whatever bears its tag.

    tmux drops the pane by itself, once the end of the output is written. Raises when nothing could be proven.
    """
    home = home_of(rig, session)
    record = processes.read_record(home / f"shim-{session.session_no}.json")
    if record is not None:
        processes.terminate(record, grace_s)
    else:
        pane = find_pane(session.locator["socket"], rig.town_id, session.id)
        if pane is None:
            return
        _end_pane(session.locator["socket"], pane, grace_s)
    left = processes.read_exit(home / f"exit-{session.session_no}.json")
    if left is None or left.survivors:
        processes.sweep(f"{rig.town_id}/{session.polecat_id}/{session.session_no}", 0.0)


def _end_pane(socket: str, pane: Pane, grace_s: float) -> None:
    """End a supervisor that has not come far yet: hang up its terminal, kill it when it does not end."""
    fd = _hold(pane)
    kill_pane(socket, pane)  # only if it still is this session's: then the descriptor is its supervisor
    if fd is None:
        return
    try:
        if not processes.wait_ended([fd], grace_s):
            processes.send(fd, signal.SIGKILL)
            processes.wait_ended([fd], processes.KILL_DEADLINE_S)
    finally:
        os.close(fd)


def discover(rig: Rig) -> list[Session]:
    """The live sessions of this rig. Raises when tmux cannot be asked: an empty list would mean that there are none."""
    socket = socket_of(rig)
    here = [pane for pane in list_panes(socket) if (pane.town_id, pane.rig) == (rig.town_id, rig.name) and _alive(pane)]
    return [handle(socket, pane.slot, pane.session_id) for pane in here]


def is_over(rig: Rig, session: Session) -> bool:
    """Whether the session is over for certain, and tmux has done with its output."""
    if supervisor_lives(home_of(rig, session), session):
        return False
    try:
        return find_pane(session.locator["socket"], rig.town_id, session.id) is None
    except TmuxError:
        return False


def _alive(pane: Pane) -> bool:
    """Whether the supervisor runs: tmux keeps a pane for some milliseconds after its end, and for ever where a human said so."""
    fd = None if pane.dead else _hold(pane)
    if fd is None:
        return False
    try:
        return not processes.wait_ended([fd], 0.0)
    finally:
        os.close(fd)


def _hold(pane: Pane) -> int | None:
    """A pidfd of the supervisor in the pane (Linux); None when it is gone."""
    try:
        return os.pidfd_open(pane.pid)
    except OSError:
        return None
