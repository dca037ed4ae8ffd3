"""Call a plugin's hook in a process of its own: what another VerMAS, or the same one after a restart, would see.

Run as `python -m vermas.testing.fresh`: a pickled `Call` on stdin, a pickled answer on stdout.
With `stay` the process then waits to be killed.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

from vermas.testing.loading import hooks_of

_ABOUT_TO = b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One hook call: `plugin` by entry-point name, `hook` without its prefix (`session_start`), keyword arguments."""

    plugin: str
    hook: str
    arguments: dict[str, Any]
    stay: bool = False


class FreshCall:
    """A hook call that runs in another process. `about_to` returns when the hook is about to be called there."""

    def __init__(self, call: Call) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vermas.testing.fresh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self.process.stdin is not None
        self.process.stdin.write(pickle.dumps(call))
        self.process.stdin.close()

    @property
    def _out(self) -> BinaryIO:
        assert self.process.stdout is not None
        return self.process.stdout  # type: ignore[return-value]

    def about_to(self) -> None:
        """Wait until everything is imported and the call begins."""
        assert self._out.read(1) == _ABOUT_TO

    def answer(self) -> Any:
        """Wait for what the hook returned; the process ends unless it was told to stay. Raises RuntimeError when the hook raised."""
        self.about_to()
        try:
            return pickle.load(self._out)
        except EOFError:
            raise RuntimeError("the hook raised in the fresh process; its traceback is on stderr") from None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the process and everything in its group, and reap it. An ended one is success."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass
        self.close()

    def close(self) -> None:
        """Wait for the end of the process."""
        self.process.wait(30)
        self._out.close()


def call_in_fresh_process(plugin: str, hook: str, **arguments: Any) -> Any:
    """What the hook returns in a process that has just started; raises what it raised."""
    fresh = FreshCall(Call(plugin=plugin, hook=hook, arguments=arguments))
    try:
        return fresh.answer()
    finally:
        fresh.close()


def main() -> None:
    """Serve one call."""
    call = pickle.load(sys.stdin.buffer)
    hook = getattr(hooks_of(call.plugin), f"vermas_{call.hook}")
    sys.stdout.buffer.write(_ABOUT_TO)
    sys.stdout.buffer.flush()
    sys.stdout.buffer.write(pickle.dumps(hook(**call.arguments)))
    sys.stdout.buffer.flush()
    while call.stay:
        signal.pause()


if __name__ == "__main__":
    from vermas.testing.fresh import main as serve  # the class that is unpickled must be the imported one

    serve()
