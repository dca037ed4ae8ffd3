"""Reusable daemon threads for calls that may never return.
Handing a call over and back costs some 20 µs; starting a thread costs three times that."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any


class Call:
    """One function call on another thread. After `wait` answered True: `value`, or `error` when it raised anything at all;
    and `duration_s`."""

    __slots__ = ("_context", "_function", "_unfinished", "duration_s", "error", "value")

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self._unfinished = threading.Lock()
        self._unfinished.acquire()
        self.value: Any = None
        self.error: BaseException | None = None
        self.duration_s = 0.0

    def wait(self, timeout_s: float) -> bool:
        """Wait until it ended; False when it still runs after `timeout_s`."""
        if not self._unfinished.acquire(timeout=max(timeout_s, 0.0)):
            return False
        self._unfinished.release()
        return True

    @property
    def ended(self) -> bool:
        return not self._unfinished.locked()

    def run(self) -> None:
        began = time.perf_counter()
        try:
            self.value = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 - whatever a plugin raises ends its call, never this thread
            self.error = error
        self.duration_s = time.perf_counter() - began

    def signal(self) -> None:
        self._unfinished.release()


class Threads:
    """A stack of idle daemon threads: the last one used is the next one used, more are started when all are busy. `keep` of them stay,
    until they had nothing to do for `idle_s`."""

    def __init__(self, keep: int = 8, idle_s: float = 30.0) -> None:
        self._keep = keep
        self._idle_s = idle_s
        self._idle: list[SimpleQueue[Call]] = []

    def start(self, function: Callable[[], Any]) -> Call:
        """Run `function` on a thread of its own, in a copy of the caller's context variables."""
        call = Call(function)
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = SimpleQueue()
            threading.Thread(target=self._work, args=(inbox,), name="vermas-call", daemon=True).start()
        inbox.put(call)
        return call

    def _work(self, inbox: SimpleQueue[Call]) -> None:
        while (call := self._next(inbox)) is not None:
            call.run()
            # Idle before the caller knows: its next call finds this thread again. Whoever is one too many ends.
            stays = len(self._idle) < self._keep
            if stays:
                self._idle.append(inbox)
            call.signal()
            del call
            if not stays:
                return

    def _next(self, inbox: SimpleQueue[Call]) -> Call | None:
        try:
            return inbox.get(timeout=self._idle_s)
        except Empty:
            try:
                self._idle.remove(inbox)
            except ValueError:  # taken from the stack this very moment: its call is on the way
                return inbox.get()
            return None
