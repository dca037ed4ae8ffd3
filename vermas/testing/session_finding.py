"""`SessionContract`, part 5: handles, looking, and finding sessions again."""

from __future__ import annotations

import json
import signal
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from vermas.testing.fresh import Call, FreshCall, call_in_fresh_process
from vermas.testing.session_bench import Bench, as_json
from vermas.types import Rig, Session, from_json


class FindCases:
    """Looking and finding: durable handles, whole batches, exactly the sessions of this rig, and `unknown` when nothing can be known."""

    has_back_end: bool

    def back_end_down(self, rig: Rig) -> AbstractContextManager[None]:
        """Make the back end unreachable, without ending sessions, for as long as the context lasts."""
        raise NotImplementedError("set has_back_end = False, or say how to make the back end unreachable")

    def test_the_handle_is_durable(self, bench: Bench) -> None:
        """At most 4 kB of JSON, and the same after a round trip."""
        rig = bench.make_rig(name="r" * 39)
        running = bench.start_ready(": > ready; exec sleep 60", bench.polecat("s" * 39, rig=rig), rig=rig)
        stored = as_json(running.session)
        assert len(stored.encode()) <= 4096
        restored = from_json(Session, json.loads(stored))
        assert restored == running.session
        assert bench.hooks.vermas_session_observe(rig=rig, sessions=[restored])[restored.id].state == "alive"

    def test_the_handle_says_whose_it_is(self, bench: Bench) -> None:
        """`driver` is the plugin, `id` is `<polecat id>-<session number>`."""
        running = bench.start_ready(": > ready; exec sleep 60", bench.polecat(session_no=3))
        session = running.session
        assert (session.driver, session.id) == (bench.plugin, f"{running.polecat.id}-3")
        assert (session.polecat_id, session.session_no) == (running.polecat.id, 3)

    def test_many_are_observed_in_one_call(self, bench: Bench) -> None:
        """Live, ended and never started ones are told apart in one answer with exactly the ids asked for."""
        live = [bench.start_ready(": > ready; exec sleep 60", bench.polecat(f"slot{number}")) for number in range(3)]
        over = bench.start("exit 7", bench.polecat("slot3"))
        bench.ended(over)
        polecat = bench.polecat("slot4")
        never = replace(over.session, id=f"{polecat.id}-1", polecat_id=polecat.id)
        asked = [*(running.session for running in live), over.session, never]
        seen = bench.hooks.vermas_session_observe(rig=bench.rig, sessions=asked)
        assert set(seen) <= {session.id for session in asked}
        assert [seen[running.session.id].state for running in live] == ["alive"] * 3
        assert seen[over.session.id].state in ("exited", "gone")
        assert never.id not in seen or seen[never.id].state in ("gone", "unknown")

    def test_nothing_to_observe(self, bench: Bench) -> None:
        """No sessions, no answers, no error."""
        assert bench.hooks.vermas_session_observe(rig=bench.rig, sessions=[]) == {}

    def test_a_fresh_process_observes(self, bench: Bench) -> None:
        """The handle is all that is needed to see that a session lives."""
        running = bench.start_ready(": > ready; exec sleep 60")
        seen = call_in_fresh_process(bench.plugin, "session_observe", rig=bench.rig, sessions=[running.session])
        assert seen[running.session.id].state == "alive"

    def test_a_killed_orchestrator_is_survived(self, bench: Bench) -> None:
        """`kill -9` of the process that started a session: a fresh one discovers it under the same handle, reads it and stops it."""
        arguments = bench.prepare(
            "stty -opost 2>/dev/null; echo before; : > ready; until [ -e go ]; do sleep 0.01; done; echo after; exec sleep 60"
        )
        place = Path(arguments["sandbox"].path)
        call = FreshCall(Call(plugin=bench.plugin, hook="session_start", arguments=arguments, stay=True))
        session = call.answer()
        bench.wait((place / "ready").exists, "the agent runs")
        call.kill(signal.SIGKILL)
        (place / "go").touch()
        (found,) = call_in_fresh_process(bench.plugin, "session_discover", rig=bench.rig)
        assert found == [session]

        def printed() -> bytes:
            data: bytes = bench.hooks.vermas_session_read(rig=bench.rig, session=found[0], cursor=0, limit_bytes=100).data
            return data

        bench.wait(lambda: printed() == b"before\nafter\n", "the output of before and after is there")
        call_in_fresh_process(bench.plugin, "session_stop", rig=bench.rig, session=found[0], grace_s=1.0)
        assert bench.discover() == []

    def test_discover_lists_exactly_the_live_ones(self, bench: Bench) -> None:
        """Started and alive: listed, under the handle that the start gave. Stopped or ended: not."""
        assert bench.discover() == []
        live = [bench.start_ready(": > ready; exec sleep 60", bench.polecat(f"slot{number}")) for number in range(3)]
        stopped = bench.start_ready(": > ready; exec sleep 60", bench.polecat("slot3"))
        over = bench.start("exit 0", bench.polecat("slot4"))
        bench.stop(stopped)
        bench.ended(over)
        assert bench.discover() == [running.session for running in live]

    def test_discover_lists_this_rig_only(self, bench: Bench) -> None:
        """Sessions of other rigs of the town, also those whose names begin alike, are theirs."""
        rigs = [bench.make_rig(name=name) for name in ("web", "web2", "we")]
        for rig in rigs:
            bench.start_ready(": > ready; exec sleep 60", bench.polecat(rig=rig), rig=rig)
        assert [len(bench.discover(rig)) for rig in (*rigs, bench.rig)] == [1, 1, 1, 0]

    def test_two_towns_do_not_see_each_other(self, bench: Bench) -> None:
        """The same names in two towns: each discovers, observes and stops its own."""
        there = bench.make_rig(town=str(bench.tmp_path / "elsewhere"), origin=bench.rig.origin)
        mine = bench.start_ready(": > ready; exec sleep 60", bench.polecat(number=1))
        theirs = bench.start_ready(": > ready; exec sleep 60", bench.polecat(rig=there, number=1), rig=there)
        assert mine.session.id == theirs.session.id
        assert (bench.discover(), bench.discover(there)) == ([mine.session], [theirs.session])
        bench.stop(mine)
        bench.assert_nothing_left(mine)
        assert bench.alive(theirs)
        assert bench.discover(there) == [theirs.session]

    def test_a_successor_is_not_its_predecessor(self, bench: Bench) -> None:
        """Session 1 is seen as over while session 2 of the same polecat lives in its place."""
        first = bench.start("exit 7")
        bench.ended(first)
        second = bench.next_session(first, ": > ready; exec sleep 60")
        seen = bench.hooks.vermas_session_observe(rig=bench.rig, sessions=[first.session, second.session])
        assert seen[first.session.id].state in ("exited", "gone")
        assert seen[second.session.id].state == "alive"
        assert bench.discover() == [second.session]

    def test_attach_is_a_command_or_none(self, bench: Bench) -> None:
        """An argv of plain strings for the user's terminal, or None."""
        running = bench.start_ready(": > ready; exec sleep 60")
        argv = bench.hooks.vermas_session_attach(rig=bench.rig, session=running.session)
        assert argv is None or (argv and all(isinstance(word, str) and "\0" not in word for word in argv))

    def test_attach_to_an_ended_session(self, bench: Bench) -> None:
        """It does not fail: there is a command that says so, or None."""
        running = bench.start("exit 0")
        bench.ended(running)
        argv = bench.hooks.vermas_session_attach(rig=bench.rig, session=running.session)
        assert argv is None or isinstance(argv, list)

    def test_a_back_end_that_is_down_is_unknown(self, bench: Bench) -> None:
        """Nobody answers: every session is `unknown`, in time, never gone; and afterwards alive again."""
        self._needs_back_end()
        running = bench.start_ready(": > ready; exec sleep 60")
        with self.back_end_down(bench.rig):
            began = time.monotonic()
            seen = bench.observe(running)
            assert time.monotonic() - began < 5.0
            assert seen.state == "unknown"
            assert seen.why
        bench.wait(lambda: bench.alive(running), "the back end is back")

    def test_a_back_end_that_is_down_discovers_nothing_by_error(self, bench: Bench) -> None:
        """`discover` raises when it cannot look: an empty list would mean that there are no sessions."""
        self._needs_back_end()
        bench.start_ready(": > ready; exec sleep 60")
        with self.back_end_down(bench.rig), pytest.raises(Exception, match=r"."):
            bench.discover()

    def test_doctor_answers(self, bench: Bench) -> None:
        """`vermas doctor` gets checks from the plugin, or nothing; on this machine none is an error."""
        for checks in bench.hooks.vermas_doctor(rig=bench.rig):
            assert [check for check in checks or () if check.status == "error"] == []

    def _needs_back_end(self) -> None:
        if not self.has_back_end:
            pytest.skip("this runtime declares that it has no back end that could be down")
