"""What tmux sessions need on this machine."""

from __future__ import annotations

import re
import subprocess

from vermas.types import Check, Rig
from vermas_tmux.client import LOOK_S, TmuxError, binary
from vermas_tmux.panes import list_panes
from vermas_tmux.server import socket_of

MINIMUM = (3, 2)


def checks(rig: Rig) -> list[Check]:
    """tmux itself, its version, the socket's path, and whether the town's server answers."""
    try:
        path = binary()
    except TmuxError as error:
        return [Check(name="tmux", status="error", message=str(error), hint="apt-get install tmux")]
    return [_version(path), _server(rig)]


def _version(path: str) -> Check:
    try:
        said = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=LOOK_S, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name="tmux", status="error", message=f"{path} does not run: {error}")
    found = re.search(r"(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) < MINIMUM:
        return Check(name="tmux", status="error", message=f"{path} is {said}, too old", hint="tmux 3.2 or newer is needed")
    return Check(name="tmux", status="ok", message=f"{said} at {path}")


def _server(rig: Rig) -> Check:
    try:
        socket = socket_of(rig)
        panes = list_panes(socket)
    except TmuxError as error:
        return Check(
            name="tmux server", status="error", message=str(error), hint="look for a stopped or hanging `tmux -S` process of this town"
        )
    live = sum(pane.rig == rig.name for pane in panes)
    return Check(name="tmux server", status="ok", message=f"{live} session(s) of {rig.name} at {socket}")
