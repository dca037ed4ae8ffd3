"""What the cases of `SessionContract` work with: a rig, a runtime's hooks, and questions about the sessions started through them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pluggy
import pytest

from vermas import processes
from vermas.testing.loading import hooks_of
from vermas.testing.plugin import LaunchFactory, PolecatFactory, RigFactory
from vermas.testing.reaper import marked
from vermas.testing.town import exit_file, lock_file, record_file, tag
from vermas.types import Launch, Observation, Output, Polecat, Receipt, Rig, Sandbox, Session, to_json

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A session that was started, with everything it was started from."""

    rig: Rig
    polecat: Polecat
    sandbox: Sandbox
    launch: Launch
    session: Session

    def file(self, name: str) -> Path:
        """A file of the agent's own, in its working directory."""
        return Path(self.sandbox.path, name)


class Bench:
    """Starts sessions and asks about them; `rig` is the rig of most of them."""

    def __init__(
        self,
        plugin: str,
        options: Mapping[str, Any],
        tmp_path: Path,
        rigs: RigFactory,
        polecats: PolecatFactory,
        launches: LaunchFactory,
        deadline_s: float = 20.0,
    ) -> None:
        self.plugin = plugin
        self.options = dict(options)
        self.tmp_path = tmp_path
        self.hooks: pluggy.HookRelay = hooks_of(plugin)
        self._rigs = rigs
        self._polecats = polecats
        self._launches = launches
        self.deadline_s = deadline_s
        self.rig = self.make_rig()

    def make_rig(self, **overrides: Any) -> Rig:
        """Another rig; with `town=` another town."""
        return self._rigs(**{"options": self.options, "plugins": (self.plugin,), **overrides})

    def polecat(self, slot: str = "slot0", *, rig: Rig | None = None, number: int | None = None, session_no: int = 1) -> Polecat:
        """A polecat with its working directory."""
        rig = rig or self.rig
        polecat = self._polecats(rig, slot, number, session_no)
        Path(polecat.slot_dir, rig.name).mkdir(exist_ok=True)
        return polecat

    def prepare(
        self,
        command: str | Sequence[str],
        polecat: Polecat | None = None,
        *,
        rig: Rig | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Path | None = None,
    ) -> dict[str, Any]:
        """The arguments of a start; a string is a script for `sh`."""
        rig = rig or self.rig
        polecat = polecat or self.polecat(rig=rig)
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        sandbox = Sandbox(driver="none", path=str(Path(polecat.slot_dir, rig.name)), branch=polecat.branch, base_sha="0" * 40)
        launch = self._launches(rig, polecat, argv, env=env, stdin=stdin)
        return {"rig": rig, "polecat": polecat, "sandbox": sandbox, "launch": launch}

    def start(self, command: str | Sequence[str], polecat: Polecat | None = None, **how: Any) -> Running:
        """Start a session: see `prepare`."""
        arguments = self.prepare(command, polecat, **how)
        return Running(**arguments, session=self.hooks.vermas_session_start(**arguments))

    def start_ready(self, command: str, polecat: Polecat | None = None, **how: Any) -> Running:
        """Start a session whose script makes the file `ready` when it is, and wait for it."""
        running = self.start(command, polecat, **how)
        self.wait(running.file("ready").exists, f"the agent of {running.session.id} is ready")
        return running

    def next_session(self, running: Running, command: str) -> Running:
        """The polecat's next session, in the same slot."""
        return self.start_ready(command, replace(running.polecat, session_no=running.polecat.session_no + 1), rig=running.rig)

    def observe(self, running: Running) -> Observation:
        """What the runtime sees of one session."""
        seen: dict[str, Observation] = self.hooks.vermas_session_observe(rig=running.rig, sessions=[running.session])
        return seen[running.session.id]

    def read(self, running: Running, cursor: int = 0, limit_bytes: int = 1 << 20) -> Output:
        """One piece of output."""
        output: Output = self.hooks.vermas_session_read(rig=running.rig, session=running.session, cursor=cursor, limit_bytes=limit_bytes)
        return output

    def read_until(self, running: Running, enough: Callable[[bytes], bool], cursor: int = 0) -> bytes:
        """The output from `cursor` on, once `enough` of it is there."""
        collected = bytearray()

        def more() -> bool:
            nonlocal cursor
            piece = self.read(running, cursor)
            cursor = piece.cursor
            collected.extend(piece.data)
            return enough(bytes(collected))

        self.wait(more, "the output is there")
        return bytes(collected)

    def read_to_end(self, running: Running, limit_bytes: int = 1 << 20) -> list[Output]:
        """All pieces of output from the start to `eof`."""
        pieces: list[Output] = []

        def at_end() -> bool:
            piece = self.read(running, pieces[-1].cursor if pieces else 0, limit_bytes)
            pieces.append(piece)
            return piece.eof

        self.wait(at_end, "the output ends", pause_s=0.0)
        return pieces

    def send(self, running: Running, text: str, key: str = "k1") -> Receipt:
        """Give the agent a message."""
        receipt: Receipt = self.hooks.vermas_session_send(rig=running.rig, session=running.session, text=text, key=key)
        return receipt

    def stop(self, running: Running, grace_s: float = 1.0) -> None:
        """End a session."""
        self.hooks.vermas_session_stop(rig=running.rig, session=running.session, grace_s=grace_s)

    def discover(self, rig: Rig | None = None) -> list[Session]:
        """The live sessions of a rig, by id."""
        (found,) = self.hooks.vermas_session_discover(rig=rig or self.rig)
        return sorted(found, key=lambda session: str(session.id))

    def processes_of(self, running: Running) -> list[int]:
        """All processes that carry the session's tag."""
        return list(marked([f"VERMAS_SESSION={tag(running.rig, running.polecat)}\0".encode()]))

    def alive(self, running: Running) -> bool:
        """Whether the runtime says that the session lives."""
        return self.observe(running).state == "alive"

    def supervisor(self, running: Running) -> processes.ShimRecord:
        """The record of the session's supervisor, once it is there."""
        record: processes.ShimRecord = self.wait(
            lambda: processes.read_record(record_file(running.polecat)), "the supervisor has written its record"
        )
        return record

    def ended(self, running: Running) -> processes.ExitRecord:
        """Wait for the end: the exit record is there, the supervisor has gone,
        and the runtime agrees with it or says that the session is gone."""
        record: processes.ExitRecord = self.wait(lambda: processes.read_exit(exit_file(running.polecat)), "the exit record is there")
        self.wait(lambda: not processes.lock_held(lock_file(running.rig, running.polecat)), "the supervisor has gone")
        self.wait(lambda: not self.alive(running), "the runtime sees the end")
        seen = self.wait(lambda: (seen := self.observe(running)).state != "unknown" and seen, "the runtime knows the end")
        assert seen.state in ("exited", "gone")
        if seen.state == "exited":
            assert (seen.exit_code, seen.signal) == (record.code, record.signal)
        return record

    def assert_nothing_left(self, running: Running) -> None:
        """The session is over, its lock is free and no process of it is left."""
        assert self.observe(running).state in ("exited", "gone")
        assert not processes.lock_held(lock_file(running.rig, running.polecat))
        assert self.processes_of(running) == []

    def wait(self, predicate: Callable[[], T], what: str, pause_s: float = 0.005) -> Any:
        """The first true value of `predicate`; fails, naming `what` did not happen."""
        end = time.monotonic() + self.deadline_s
        while not (value := predicate()):
            if time.monotonic() > end:
                pytest.fail(f"not so within {self.deadline_s:g} s: {what}")
            time.sleep(pause_s)
        return value


def as_json(session: Session) -> str:
    """The handle as it is stored."""
    return json.dumps(to_json(session))
