"""The tmux server of a town: its socket, its configuration, and a libtmux view of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vermas import processes
from vermas.types import Rig
from vermas_tmux.client import TmuxError, binary

if TYPE_CHECKING:
    import libtmux

SOCKET_BYTES = 107
CONF = """\
set -s exit-empty off
set -s exit-unattached off
set -s set-clipboard off
set -s default-terminal tmux-256color
set -g remain-on-exit off
set -g destroy-unattached off
set -g detach-on-destroy on
set -g update-environment ""
set -g status off
set -g set-titles off
set -g visual-bell off
set -g bell-action none
set -g lock-after-time 0
set -g window-size latest
setw -g automatic-rename off
setw -g allow-rename off
setw -g monitor-activity off
setw -g monitor-bell off
"""


def socket_of(rig: Rig) -> str:
    """The town's tmux socket. Raises TmuxError when its path is longer than the kernel takes."""
    socket = os.path.join(rig.run_dir, "t")
    if len(os.fsencode(socket)) > SOCKET_BYTES:
        raise TmuxError(
            f"the tmux socket {socket} is longer than {SOCKET_BYTES} bytes; set XDG_RUNTIME_DIR or TMPDIR to a shorter directory"
        )
    return socket


def configuration(rig: Rig) -> str:
    """The path of our configuration, written when it is missing or of another version: the user's `~/.tmux.conf` is never read."""
    conf = Path(rig.run_dir, "tmux.conf")
    wanted = CONF.encode()
    try:
        if conf.read_bytes() == wanted:
            return str(conf)
    except FileNotFoundError:
        pass
    processes.atomic_write(conf, wanted, durable=False)
    return str(conf)


def libtmux_server(rig: Rig) -> libtmux.Server:
    """The town's tmux server as a libtmux object, for scripts and tests. Looking through it has no deadline."""
    import libtmux

    return libtmux.Server(socket_path=socket_of(rig), config_file=configuration(rig), tmux_bin=binary())
