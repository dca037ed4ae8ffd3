"""The runtime that keeps sessions in tmux: one server per town, reachable after any restart, for people and programs alike."""

from __future__ import annotations

from collections.abc import Sequence

from vermas.hookspecs import hookimpl
from vermas.types import Check, Launch, Observation, Output, Polecat, Receipt, Rig, Sandbox, Session
from vermas_tmux import attach, doctor, log, messages
from vermas_tmux.options import Options
from vermas_tmux.sessions import discover, home_of, is_over, observe, start, stop

__all__ = ["Options"]


@hookimpl
def vermas_session_start(rig: Rig, polecat: Polecat, sandbox: Sandbox, launch: Launch) -> Session:
    return start(rig, polecat, sandbox, launch)


@hookimpl
def vermas_session_observe(rig: Rig, sessions: Sequence[Session]) -> dict[str, Observation]:
    return observe(rig, sessions)


@hookimpl
def vermas_session_read(rig: Rig, session: Session, cursor: int, limit_bytes: int) -> Output:
    path = log.log_path(home_of(rig, session), session.session_no)
    return log.read(path, cursor, limit_bytes, lambda: is_over(rig, session))


@hookimpl
def vermas_session_send(rig: Rig, session: Session, text: str, key: str) -> Receipt:
    return messages.send(rig, session, text, key)


@hookimpl
def vermas_session_stop(rig: Rig, session: Session, grace_s: float) -> None:
    stop(rig, session, grace_s)


@hookimpl
def vermas_session_discover(rig: Rig) -> list[Session]:
    return discover(rig)


@hookimpl
def vermas_session_attach(rig: Rig, session: Session) -> list[str] | None:
    return attach.command(rig, session)


@hookimpl
def vermas_doctor(rig: Rig) -> list[Check]:
    return doctor.checks(rig)
