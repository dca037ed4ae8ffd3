"""The loop of one rig: it wakes on events, reconciles what they touch, and hands out new work.

It sleeps on the rig's datagram socket (verbs and supervisors write to it), on a pidfd per live session, and on the next deadline.
Everything is looked at again every `TICK_S`, so a lost wake-up costs seconds and never more.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import re
import selectors
import socket
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from vermas.beads import exchange
from vermas.errors import StoreError, VermasError
from vermas.git import HELD
from vermas.lifecycle import landing, reconcile
from vermas.lifecycle.advance import FAILURES, Wait, failed
from vermas.lifecycle.dispatch import Dispatched, dispatch
from vermas.lifecycle.orphans import end_orphans
from vermas.lifecycle.site import Site
from vermas.lifecycle.spawn import SessionPaths
from vermas.processes import FileLock, open_pidfd, read_record
from vermas.store import beads, events, polecats, submissions
from vermas.types import Event, Observation

TICK_S = 5.0
EXPORT_S = 1.0
_OBSERVERS_S = 5.0
_BARRED_S = 30.0
_TRACE_CHARS = 4000
_WORKERS = 8
_NEVER = float("inf")
_POLECAT = re.compile(r"p[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to do in one rig: which beads (None: whatever is ready), how many polecats at once, and whether it ever ends."""

    beads: frozenset[str] | None = None
    limit: int
    watch: bool = False


@dataclass(slots=True)
class _Schedule:
    """When each thing is to be looked at next, and what is being worked on in a worker thread now."""

    due: dict[str, float] = field(default_factory=dict)
    busy: dict[str, Future[object]] = field(default_factory=dict)
    ask: set[str] = field(default_factory=set)
    barred: dict[str, float] = field(default_factory=dict)

    def wake(self, key: str, at: float = 0.0) -> None:
        self.due[key] = min(self.due.get(key, _NEVER), at)

    def ready(self, now: float) -> list[str]:
        return [key for key in self.due if self._at(key) <= now and key not in self.busy]

    def next_at(self) -> float:
        return min((self._at(key) for key in self.due if key not in self.busy), default=_NEVER)

    def _at(self, key: str) -> float:
        return max(self.due[key], self.barred.get(key, 0.0))


_LANDING = "landing"
_DISPATCH = "dispatch"


class Observers:
    """Hands events to `vermas_event` from a thread of its own: whoever watches slowly delays nobody."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if site.hooks.plugins.implementers("vermas_event"):
            self._thread = threading.Thread(target=self._work, name=f"observers-{site.rig.name}", daemon=True)
            self._thread.start()

    def put(self, event: Event) -> None:
        """Queue an event."""
        if self._thread is not None:
            self._queue.put(event)

    def close(self) -> None:
        """Let the observers finish, for a few seconds at most."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=_OBSERVERS_S)

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            self._site.hooks.event(event)
        self._site.store.close()


class RigLoop:
    """The reconciler of one rig in the foreground. `lock` is the rig's, already held; `told` gets every new event of the rig.

    A loop with nothing left to do is `idle`; it ends when `others_busy` says that no other rig can give it work any more.
    """

    def __init__(
        self, site: Site, lock: FileLock, plan: Plan, told: Callable[[Event], None], others_busy: Callable[[], bool] = lambda: False
    ) -> None:
        self.site = site
        self.plan = plan
        self.waiting: dict[str, str] = {}
        self.idle = False
        self._told = told
        self._others_busy = others_busy
        self._nudged = threading.Event()
        self._lock = lock
        self._stop = threading.Event()
        self._schedule = _Schedule()
        self._pidfds: dict[str, int] = {}
        self._selector = selectors.DefaultSelector()
        self._socket = _bind(site.town.poke_socket(site.rig.name))
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._socket, selectors.EVENT_READ, "poke")
        self._selector.register(self._wake_read, selectors.EVENT_READ, "wake")
        self._seq = events.last_seq(site.store.read)
        self._observers = Observers(site)
        self._tick_at = 0.0
        self._export_at = 0.0
        self._exchange_error = ""
        self._held_back: float | None = None

    def stop(self) -> None:
        """Start nothing new and leave at the next quiet moment; sessions go on."""
        self._stop.set()
        self._wake()

    def nudge(self) -> None:
        """Something changed in another rig: beads of this one may be ready now, or nobody else be busy any more."""
        self.idle = False
        self._nudged.set()
        self._wake()

    def release(self) -> None:
        """Let another process reconcile this rig."""
        self._lock.release()

    def run(self) -> None:
        """Until nothing is left to do (or for ever, when watching), or until `stop`."""
        HELD.set((self._lock.fd,))
        pool = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix=f"vermas-{self.site.rig.name}")
        try:
            end_orphans(self.site)
            self._everything()
            while not self._stop.is_set():
                self._start_due(pool)
                self._drain_events()
                if not self._schedule.busy and self._finished():
                    break
                self._sleep()
                self._collect()
        finally:
            pool.shutdown(wait=True)
            self._collect()
            self._export(force=True)
            self._drain_events()
            self._observers.close()
            self._close()

    def _everything(self) -> None:
        now = time.monotonic()
        self._exchange(now)
        self._tick_at = now + TICK_S
        for row in polecats.living(self.site.store.read, self.site.rig.name):
            self._schedule.wake(row["id"])
            self._schedule.ask.add(row["id"])
        self._schedule.wake(_LANDING)
        self._schedule.wake(_DISPATCH)

    def _start_due(self, pool: ThreadPoolExecutor) -> None:
        now = time.monotonic()
        if now >= self._tick_at:
            self._everything()
        if self._nudged.is_set():
            self._nudged.clear()
            self._schedule.wake(_DISPATCH)
        self._export()
        ready = self._schedule.ready(now)
        asked = self._schedule.ask.intersection(ready)
        seen = reconcile.observations(self.site, asked) if asked else {}
        self._schedule.ask -= asked
        by_polecat = {session_id.rpartition("-")[0]: value for session_id, value in seen.items()}
        for key in ready:
            del self._schedule.due[key]
            self._schedule.busy[key] = self._submit(pool, key, by_polecat.get(key))

    def _submit(self, pool: ThreadPoolExecutor, key: str, seen: Observation | None) -> Future[object]:
        if key == _LANDING:
            work: Callable[[], object] = functools.partial(reconcile.land, self.site)
        elif key == _DISPATCH:
            work = functools.partial(dispatch, self.site, only=self.plan.beads, limit=self.plan.limit)
        else:
            work = functools.partial(reconcile.settle, self.site, key, seen)
        future = pool.submit(self._held, work)
        future.add_done_callback(lambda _: self._wake())
        return future

    def _held(self, work: Callable[[], object]) -> object:
        HELD.set((self._lock.fd,))
        return work()

    def _collect(self) -> None:
        for key, future in list(self._schedule.busy.items()):
            if not future.done():
                continue
            del self._schedule.busy[key]
            bug = future.exception()
            if bug is not None:
                self._broke(key, bug)
                continue
            result = future.result()
            if isinstance(result, Dispatched):
                self._dispatched(result)
            elif isinstance(result, tuple) and isinstance(result[1], Wait):
                self._settled(key, result[0], result[1])
            elif isinstance(result, tuple) and isinstance(result[1], landing.Waiting):
                self._land_waits(result[0], result[1])

    def _broke(self, key: str, bug: BaseException) -> None:
        """A bug in the step of one item costs that item alone. What is wrong with the database is everybody's and ends the loop."""
        if isinstance(bug, StoreError) or not isinstance(bug, Exception):
            raise bug
        trace = "".join(traceback.format_exception(bug))[-_TRACE_CHARS:]
        row = polecats.get(self.site.store.read, key)
        if row is not None:
            wait_s = failed(self.site, row, bug, trace=trace).seconds or _BARRED_S
        else:
            wait_s = _BARRED_S
            self.site.note("effect-failed", why=f"{key}: {bug!r}", retry_in_s=wait_s, traceback=trace)
        self._schedule.barred[key] = time.monotonic() + wait_s
        self._schedule.wake(key)

    def _dispatched(self, result: Dispatched) -> None:
        self.waiting = dict(result.waiting)
        self._held_back = result.retry_after_s
        for polecat_id in result.polecats:
            self._schedule.wake(polecat_id)
        if result.retry_after_s is not None:
            self._schedule.wake(_DISPATCH, time.monotonic() + result.retry_after_s)

    def _settled(self, polecat_id: str, effects: int, wait: Wait) -> None:
        if wait.seconds is not None:
            self._schedule.wake(polecat_id, time.monotonic() + wait.seconds)
            if wait.ask_runtime:
                self._schedule.ask.add(polecat_id)
        row = polecats.get(self.site.store.read, polecat_id)
        if row is not None and not row["gone"] and polecat_id not in self._pidfds:
            self._watch(row)
        if effects and (row is None or row["gone"] or row["want"] == "stop"):
            self._schedule.wake(_DISPATCH)

    def _land_waits(self, effects: int, wait: landing.Waiting) -> None:
        if wait.seconds is not None:
            self._schedule.wake(_LANDING, time.monotonic() + wait.seconds)
        for pid in wait.pids:
            self._watch_check(pid)
        if effects:
            self.site.notify()
            for row in polecats.living(self.site.store.read, self.site.rig.name):
                if row["want"] == "gone" or row["restart"]:
                    self._schedule.wake(row["id"])
            self._schedule.wake(_DISPATCH)

    def _watch(self, row: sqlite3.Row) -> None:
        """Hear of the death of a session's supervisor at once, however it dies. Linux; elsewhere the tick finds it."""
        session = polecats.session(self.site.store.read, row["id"], row["session_no"])
        if session is None or session["state"] != "running":
            return
        record = read_record(SessionPaths(self.site.polecat(row)).record)
        pidfd = open_pidfd(record) if record is not None else None
        if pidfd is not None:
            self._pidfds[row["id"]] = pidfd
            self._selector.register(pidfd, selectors.EVENT_READ, row["id"])

    def _watch_check(self, pid: int) -> None:
        """The same for a check's supervisor. Linux; elsewhere the landing is looked at every second."""
        name = f"check {pid}"
        if name in self._pidfds or not hasattr(os, "pidfd_open"):
            return
        try:
            self._pidfds[name] = os.pidfd_open(pid)
        except ProcessLookupError:
            self._schedule.wake(_LANDING)
        else:
            self._selector.register(self._pidfds[name], selectors.EVENT_READ, name)

    def _sleep(self) -> None:
        now = time.monotonic()
        until = min(self._schedule.next_at(), self._tick_at)
        if beads.behind(self.site.store.read, self.site.rig.name):
            until = min(until, self._export_at)
        for key, _ in self._selector.select(max(0.0, until - now)):
            if key.data == "wake":
                os.read(self._wake_read, 4096)
            elif key.data == "poke":
                self._poked()
            else:
                self._selector.unregister(key.fd)
                os.close(self._pidfds.pop(key.data))
                self._schedule.wake(key.data if key.data.startswith("p") else _LANDING)

    def _poked(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                verb, _, subject = self._socket.recv(256).decode("ascii", "replace").partition(" ")
                polecat_id = subject.partition("-")[0]
                if not polecat_id:
                    self._everything()
                elif _POLECAT.fullmatch(polecat_id) is None:
                    self._schedule.wake(_LANDING)  # a check under its supervisor
                else:
                    self._schedule.wake(polecat_id)
                    if verb == "done":
                        self._schedule.wake(_LANDING)

    def _finished(self) -> bool:
        if self.plan.watch or self._nudged.is_set() or self._schedule.ready(time.monotonic()):
            return False
        db = self.site.store.read
        if submissions.waiting(db, self.site.rig.name) or self._held_back is not None:
            return False
        living = polecats.living(db, self.site.rig.name)
        self.idle = all(
            (row["want"] == "stop" or row["failures"] >= FAILURES) and not _live(self.site, row["id"], row["session_no"]) for row in living
        )
        return self.idle and not self._nudged.is_set() and not self._others_busy()

    def _drain_events(self) -> None:
        while rows := events.since(self.site.store.read, self._seq, rig=self.site.rig.name):
            for row in rows:
                event = events.view(row)
                self._told(event)
                self._observers.put(event)
            self._seq = rows[-1]["seq"]

    def _export(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if (force or now >= self._export_at) and beads.behind(self.site.store.read, self.site.rig.name):
            self._exchange(now)

    def _exchange(self, now: float) -> None:
        """Bring the rig's JSONL file and the database together; a file that cannot be read or written stops nothing else."""
        try:
            exchange.sync(self.site.store, self.site.rig.name, self.site.town.issues(self.site.rig.name))
        except VermasError as error:
            if str(error) != self._exchange_error:
                self.site.note("beads-file-failed", why=str(error))
            self._exchange_error = str(error)
        else:
            self._exchange_error = ""
        took = time.monotonic() - now
        self._export_at = time.monotonic() + max(EXPORT_S, 5 * took)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_write, b"x")

    def _close(self) -> None:
        for pidfd in self._pidfds.values():
            os.close(pidfd)
        self._selector.close()
        self._socket.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._wake_write = -1
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.site.town.poke_socket(self.site.rig.name))
        self.site.store.close()


def _live(site: Site, polecat_id: str, session_no: int) -> bool:
    session = polecats.session(site.store.read, polecat_id, session_no)
    return session is not None and session["state"] != "ended"


def _bind(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    listener.setblocking(False)
    return listener
