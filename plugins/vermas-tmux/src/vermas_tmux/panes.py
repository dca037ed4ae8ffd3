"""The panes of a town's tmux server that hold its sessions.

What a pane holds is written on the pane itself, as user options set in the request that makes it: names can be changed by a human, pane
numbers start again with each server. All values are slugs, so that they can stand in formats and targets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vermas_tmux.client import LOOK_S, NoServer, TmuxError, Unreachable, ask

_FORMAT = "|".join(
    f"#{{{name}}}"
    for name in (
        "@vermas_town",
        "@vermas_rig",
        "@vermas_slot",
        "@vermas_session",
        "pane_id",
        "pane_pid",
        "pane_dead",
        "pane_input_off",
        "session_id",
        "session_attached",
    )
)
_SLUG = r"([a-z0-9][a-z0-9-]*)"
_LINE = re.compile(rf"{_SLUG}\|{_SLUG}\|{_SLUG}\|(p[0-9]+-[0-9]+)\|(%[0-9]+)\|([0-9]+)\|([01]?)\|([01]?)\|(\$[0-9]+)\|([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """A pane with a session of ours; `id` is tmux's (`%7`), `pid` the supervisor, `tmux_session` what holds it (`$3`)."""

    town_id: str
    rig: str
    slot: str
    session_id: str
    id: str
    pid: int
    dead: bool
    input_off: bool
    tmux_session: str
    attached: bool


def list_panes(socket: str, deadline_s: float = LOOK_S) -> list[Pane]:
    """All panes with a session of ours; none when no server runs. Raises Unreachable or TmuxError when that cannot be told."""
    try:
        listed = ask(socket, ["list-panes", "-a", "-F", _FORMAT], deadline_s=deadline_s)
    except NoServer:
        return []
    except Unreachable:
        raise
    except TmuxError:
        # A server without any session refuses: there is no "current target".
        if _has_sessions(socket, deadline_s):
            raise
        return []
    return [_pane(match) for match in map(_LINE.fullmatch, listed.splitlines()) if match]


def _has_sessions(socket: str, deadline_s: float) -> bool:
    try:
        return ask(socket, ["list-sessions", "-F", "#{session_id}"], deadline_s=deadline_s) != ""
    except NoServer:
        return False


def find_pane(socket: str, town_id: str, session_id: str) -> Pane | None:
    """The pane of one session, or None when tmux has no such pane."""
    return next((pane for pane in list_panes(socket) if (pane.town_id, pane.session_id) == (town_id, session_id)), None)


def kill_pane(socket: str, pane: Pane) -> None:
    """Remove a pane, if it is still this session's: looked at and killed in one step. An absent one is success."""
    condition = f"#{{==:#{{@vermas_session}},{pane.session_id}}}"
    try:
        ask(socket, ["if-shell", "-F", "-t", pane.id, condition, f"kill-pane -t {pane.id}"])
    except NoServer:
        return


def _pane(match: re.Match[str]) -> Pane:
    town_id, rig, slot, session_id, pane_id, pid, dead, input_off, tmux_session, attached = match.groups()
    return Pane(
        town_id=town_id,
        rig=rig,
        slot=slot,
        session_id=session_id,
        id=pane_id,
        pid=int(pid),
        dead=dead == "1",
        input_off=input_off == "1",
        tmux_session=tmux_session,
        attached=attached != "0",
    )
