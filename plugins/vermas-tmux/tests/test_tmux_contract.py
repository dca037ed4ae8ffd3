"""tmux keeps the contract of session runtimes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from vermas_tmux import Options
from vermas_tmux.client import ask
from vermas_tmux.server import socket_of

from vermas.testing.session_contract import SessionContract
from vermas.types import Rig


class TestTmux(SessionContract):
    plugin = "tmux"
    options = Options(submit_delay_s=0.0)
    capped_options = Options(log_bytes=128 * 1024)
    capped_bytes = 128 * 1024

    @contextmanager
    def back_end_down(self, rig: Rig) -> Iterator[None]:
        server = int(ask(socket_of(rig), ["display-message", "-p", "#{pid}"]))
        os.kill(server, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(server, signal.SIGCONT)
