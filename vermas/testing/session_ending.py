"""`SessionContract`, part 2: how a session ends, by itself or stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from vermas import processes
from vermas.testing.fresh import call_in_fresh_process
from vermas.testing.session_bench import Bench
from vermas.testing.town import exit_file


class EndCases:
    """Ending: true codes, whole trees, and nobody else's session."""

    @pytest.mark.parametrize("code", [0, 1, 7, 255])
    def test_exit_codes(self, bench: Bench, code: int) -> None:
        """The agent's exit code is recorded, and the runtime says the same or that the session is gone."""
        running = bench.start(f"exit {code}")
        record = bench.ended(running)
        assert (record.code, record.signal, record.stopped_by) == (code, None, "")
        bench.assert_nothing_left(running)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP])
    def test_deaths_by_signal(self, bench: Bench, number: signal.Signals) -> None:
        """An agent that died by a signal did not exit with a code."""
        running = bench.start(f"kill -{number.name[3:]} $$")
        record = bench.ended(running)
        assert (record.code, record.signal) == (None, number)

    def test_the_agent_is_killed_from_outside(self, bench: Bench) -> None:
        """`kill -9` of the agent alone ends the session, with the signal on record."""
        running = bench.start_ready("echo $$ > pid; : > ready; while :; do sleep 1; done")
        os.kill(int(running.file("pid").read_text()), signal.SIGKILL)
        assert bench.ended(running).signal == signal.SIGKILL
        bench.assert_nothing_left(running)

    def test_background_children_end_with_the_agent(self, bench: Bench) -> None:
        """What the agent leaves running does not outlive its session."""
        running = bench.start("sleep 60 & setsid sleep 60 & exit 3")
        assert bench.ended(running).code == 3
        bench.assert_nothing_left(running)

    def test_stop_ends_the_session(self, bench: Bench) -> None:
        """After `stop` the session is over and recorded as stopped."""
        running = bench.start_ready(": > ready; exec sleep 60")
        bench.stop(running)
        bench.assert_nothing_left(running)
        record = bench.ended(running)
        assert record.signal == signal.SIGTERM
        assert record.stopped_by in ("TERM", "HUP")

    def test_stop_lets_the_agent_finish(self, bench: Bench) -> None:
        """The agent gets TERM first and may use its grace to put things in order."""
        running = bench.start_ready("trap 'sleep 0.2; echo saved > saved; exit 5' TERM; : > ready; while :; do sleep 0.05; done")
        bench.stop(running, grace_s=5.0)
        assert running.file("saved").read_text() == "saved\n"
        assert bench.ended(running).code == 5

    def test_stop_of_an_agent_that_ignores_term(self, bench: Bench) -> None:
        """After the grace it is killed."""
        running = bench.start_ready("trap '' TERM HUP INT; : > ready; while :; do sleep 0.05; done")
        began = time.monotonic()
        bench.stop(running, grace_s=0.2)
        assert time.monotonic() - began < 8.0
        assert bench.ended(running).signal == signal.SIGKILL
        bench.assert_nothing_left(running)

    def test_stop_of_a_stopped_agent(self, bench: Bench) -> None:
        """An agent under SIGSTOP is ended too."""
        running = bench.start_ready("echo $$ > pid; : > ready; while :; do sleep 1; done")
        os.kill(int(running.file("pid").read_text()), signal.SIGSTOP)
        bench.stop(running)
        bench.assert_nothing_left(running)

    @pytest.mark.parametrize(
        "escape",
        [
            "(setsid sleep 60 &) &",
            "nohup sleep 60 >/dev/null 2>&1 &",
            "(trap '' HUP TERM INT; setsid sh -c 'while :; do sleep 1; done' &) &",
            "(setsid env -i sleep 60 &) &",
        ],
        ids=["double-fork", "nohup", "ignores-signals", "wiped-environment"],
    )
    def test_stop_ends_the_whole_tree(self, bench: Bench, escape: str) -> None:
        """Children that left the agent's group, session, or environment end with it."""
        running = bench.start_ready(f"{escape} sleep 0.05; : > ready; while :; do sleep 0.05; done")
        family = descendants(bench.supervisor(running).pid)
        assert len(family) >= 2
        bench.stop(running, grace_s=0.2)
        assert [pid for pid in family if running_process(pid)] == []
        bench.assert_nothing_left(running)

    def test_stop_is_idempotent(self, bench: Bench) -> None:
        """A second stop of the same session is success."""
        running = bench.start_ready(": > ready; exec sleep 60")
        bench.stop(running)
        bench.stop(running)
        bench.assert_nothing_left(running)

    def test_stop_of_an_ended_session(self, bench: Bench) -> None:
        """Stopping what ended by itself is success and does not change its record."""
        running = bench.start("exit 7")
        bench.ended(running)
        bench.stop(running)
        record = bench.ended(running)
        assert (record.code, record.stopped_by) == (7, "")

    def test_stop_of_a_session_never_started(self, bench: Bench) -> None:
        """A handle without a session (its start failed or is yet to come) stops without complaint."""
        running = bench.start("exit 0")
        bench.ended(running)
        polecat = bench.polecat("slot7")
        never = replace(running.session, id=f"{polecat.id}-1", polecat_id=polecat.id)
        bench.hooks.vermas_session_stop(rig=bench.rig, session=never, grace_s=0.2)

    def test_concurrent_stops(self, bench: Bench) -> None:
        """Eight stops at once all succeed and end one session."""
        running = bench.start_ready(": > ready; exec sleep 60")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: bench.stop(running), range(8)))
        bench.assert_nothing_left(running)

    def test_stop_from_a_fresh_process(self, bench: Bench) -> None:
        """The handle is all that is needed."""
        running = bench.start_ready(": > ready; exec sleep 60")
        call_in_fresh_process(bench.plugin, "session_stop", rig=running.rig, session=running.session, grace_s=1.0)
        bench.assert_nothing_left(running)

    @pytest.mark.parametrize("delay_s", [0.0, 0.003, 0.01, 0.02, 0.04])
    def test_stop_during_the_start(self, bench: Bench, delay_s: float) -> None:
        """A stop at any moment after the start has returned leaves nothing, though the supervisor may not have come far."""
        running = bench.start("exec sleep 60")
        time.sleep(delay_s)
        bench.stop(running)
        bench.wait(lambda: not bench.alive(running), "the session is over")
        bench.assert_nothing_left(running)

    def test_stop_beside_the_start(self, bench: Bench) -> None:
        """A stop while the start is under way fails neither; once both returned, a stop leaves nothing."""
        session = bench.start_ready(": > ready; exec sleep 60").session
        arguments = bench.prepare("exec sleep 60", bench.polecat("slot1"))
        handle = replace(
            session, id=f"{arguments['polecat'].id}-1", polecat_id=arguments["polecat"].id, locator=_moved(session.locator, "slot1")
        )
        stopper = threading.Thread(target=bench.hooks.vermas_session_stop, kwargs={"rig": bench.rig, "session": handle, "grace_s": 0.5})
        stopper.start()
        started = bench.hooks.vermas_session_start(**arguments)
        stopper.join()
        bench.hooks.vermas_session_stop(rig=bench.rig, session=started, grace_s=0.5)
        assert bench.discover() == [session]

    def test_stop_spares_the_neighbours(self, bench: Bench) -> None:
        """`slot1` and `slot10`, polecats `p1` and `p10`, sessions `1` and `11`: only the one that is meant ends."""
        meant = bench.start_ready(": > ready; exec sleep 60", bench.polecat("slot1", number=1))
        spared = [
            bench.start_ready(": > ready; exec sleep 60", bench.polecat("slot10", number=10)),
            bench.start_ready(": > ready; exec sleep 60", bench.polecat("slot11", number=11, session_no=11)),
        ]
        bench.stop(meant)
        bench.assert_nothing_left(meant)
        assert all(bench.alive(running) for running in spared)

    def test_a_stale_handle_cannot_stop_the_successor(self, bench: Bench) -> None:
        """Stopping session 1 after session 2 of the same polecat has started leaves session 2 alone."""
        first = bench.start("exit 0")
        bench.ended(first)
        second = bench.next_session(first, ": > ready; exec sleep 60")
        bench.stop(first)
        assert bench.alive(second)
        assert bench.observe(first).state in ("exited", "gone")

    def test_a_former_polecat_cannot_stop_the_slots_next(self, bench: Bench) -> None:
        """The same slot, another polecat: the old handle does not reach it."""
        first = bench.start("exit 0")
        bench.ended(first)
        second = bench.start_ready(": > ready; exec sleep 60", bench.polecat())
        bench.stop(first)
        assert bench.alive(second)

    def test_survivors_of_a_killed_supervisor(self, bench: Bench) -> None:
        """`kill -9` of the supervisor: the runtime does not call it alive, and `stop` ends what is left of the agent."""
        running = bench.start_ready("trap '' HUP TERM; setsid sleep 60 & : > ready; while :; do sleep 0.05; done")
        os.kill(bench.supervisor(running).pid, signal.SIGKILL)
        bench.wait(lambda: not bench.alive(running), "the runtime sees the end")
        assert processes.read_exit(exit_file(running.polecat)) is None
        bench.stop(running, grace_s=0.1)
        bench.assert_nothing_left(running)


def _moved(locator: object, slot: str) -> dict[str, str]:
    assert isinstance(locator, dict)
    return {key: value.replace("slot0", slot) for key, value in locator.items()}


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, itself included (Linux)."""
    found = [pid]
    for parent in found:
        for task in _list(f"/proc/{parent}/task"):
            found += [int(child) for child in _read(f"/proc/{parent}/task/{task}/children").split()]
    return found


def running_process(pid: int) -> bool:
    """Whether the process exists and is not a zombie (Linux)."""
    status = _read(f"/proc/{pid}/stat")
    return status != "" and status.rpartition(")")[2].split()[0] not in "ZX"


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
