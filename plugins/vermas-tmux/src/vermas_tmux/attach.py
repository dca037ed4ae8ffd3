"""The command that shows a session in the user's terminal."""

from __future__ import annotations

import os

from vermas.types import Rig, Session
from vermas_tmux.client import binary
from vermas_tmux.panes import find_pane


def command(rig: Rig, session: Session) -> list[str] | None:
    """Attach, or switch there when the terminal is in this very server already; None when the session is over.

    Inside another tmux it nests: that one's own keys reach it first.
    """
    socket = session.locator["socket"]
    pane = find_pane(socket, rig.town_id, session.id)
    if pane is None:
        return None
    if os.environ.get("TMUX", "").split(",")[0] == socket:
        return [binary(), "-S", socket, "switch-client", "-t", pane.tmux_session]
    return ["env", "-u", "TMUX", binary(), "-S", socket, "attach-session", "-t", pane.tmux_session]
