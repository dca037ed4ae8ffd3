from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import vermas_watchdog
from hypothesis import given
from hypothesis import strategies as st
from vermas_watchdog import REMINDER, Options

from vermas.types import Bead, Evidence, Finding, History, Observation, PastStep, Polecat, Rig, Slot, Step

NOW = 1_700_000_000.0
ALIVE = Observation(state="alive")
ZERO = Observation(state="exited", exit_code=0)
ONE = Observation(state="exited", exit_code=1)
KILLED = Observation(state="exited", signal=9)
NAMELESS = Observation(state="exited", signal=250)
NO_CODE = Observation(state="exited")
GONE = Observation(state="gone")
UNKNOWN = Observation(state="unknown", why="tmux does not answer")


def rig(**options: Any) -> Rig:
    return Rig(
        name="web",
        town_id="abcd1234",
        town="/town",
        path="/town/web",
        yard="/town/web/yard.git",
        vault="/town/web/repo.git",
        run_dir="/run/vt",
        origin="/nowhere",
        target="main",
        prefix="web",
        check="none",
        agent="script",
        max_polecats=5,
        plugins=("watchdog",),
        options={"watchdog": Options(**options)} if options else {},
    )


def polecat(session_no: int = 1) -> Polecat:
    return Polecat(
        id="p1",
        rig="web",
        bead=Bead(id="web-1", rig="web", title="a bead"),
        slot=Slot(name="slot0"),
        session_no=session_no,
        slot_dir="/town/web/polecats/slot0",
        home="/town/web/polecats/slot0/.p1",
        branch="polecat/slot0/web-1@p1",
        agent="script",
        actor="web/polecats/slot0",
    )


def evidence(observation: Observation, **fields: Any) -> Evidence:
    values: dict[str, Any] = {"age_s": 5.0, "idle_s": 5.0, "acknowledged": True, "ready_deadline_s": 120.0, **fields}
    return Evidence(polecat_id="p1", session_no=1, observation=observation, **values)


def check(observation: Observation, **fields: Any) -> Finding | None:
    return vermas_watchdog.vermas_health_check(rig=rig(), polecat=polecat(), evidence=evidence(observation, **fields), now=NOW)


def escalate(kind: str, history: History, *, session_no: int = 1, **options: Any) -> Step:
    finding = Finding(kind=kind, severity="high", why="because")
    step = vermas_watchdog.vermas_escalate(rig=rig(**options), polecat=polecat(session_no), finding=finding, history=history, now=NOW)
    assert step is not None
    return step


def restarted(kind: str, session_no: int, age_s: float = 10.0) -> PastStep:
    return PastStep(action="restart", finding=kind, session_no=session_no, age_s=age_s)


@pytest.mark.parametrize(
    ("observation", "fields", "kind", "why"),
    [
        (ALIVE, {}, None, ""),
        (ALIVE, {"acknowledged": False, "age_s": 120.0}, None, ""),
        (ALIVE, {"acknowledged": False, "age_s": 120.1}, "not-ready", "not ready within 120 s"),
        (ALIVE, {"acknowledged": True, "age_s": 36_000.0, "idle_s": 36_000.0}, None, ""),
        (ALIVE, {"start_error": "timed out"}, None, ""),
        (ZERO, {}, "exited", "without `vermas done`"),
        (ONE, {}, "crashed", "exit code 1"),
        (KILLED, {}, "crashed", "SIGKILL"),
        (NAMELESS, {}, "crashed", "signal 250"),
        (NO_CODE, {}, "crashed", "exit code is unknown"),
        (GONE, {}, "crashed", "gone"),
        (ONE, {"start_error": "no such file"}, "start-failed", "no such file"),
        (ZERO, {"start_error": "no such file"}, "start-failed", "no such file"),
        (GONE, {"start_error": "no such file"}, "start-failed", "no such file"),
        (ZERO, {"stopped_by": "HUP"}, "crashed", "from outside by SIGHUP"),
        (KILLED, {"stopped_by": "TERM"}, "crashed", "from outside by SIGTERM"),
        (ALIVE, {"stopped_by": "TERM"}, None, ""),
        (UNKNOWN, {"stopped_by": "HUP"}, None, ""),
        (ONE, {"stopped_by": "HUP", "submitted": True}, None, ""),
        (UNKNOWN, {}, None, ""),
        (UNKNOWN, {"start_error": "no such file"}, None, ""),
        (UNKNOWN, {"acknowledged": False, "age_s": 9_999.0}, None, ""),
    ],
)
def test_findings(observation: Observation, fields: dict[str, Any], kind: str | None, why: str) -> None:
    finding = check(observation, **fields)
    assert (finding.kind if finding else None) == kind
    if finding:
        assert why in finding.why


@pytest.mark.parametrize("field", [{"submitted": True}, {"stopped_by": "operator"}])
@pytest.mark.parametrize("observation", [ALIVE, ZERO, ONE, KILLED, NO_CODE, GONE, UNKNOWN])
@pytest.mark.parametrize("start_error", ["", "no such file"])
def test_submitted_and_stopped_sessions_are_never_judged(observation: Observation, field: dict[str, Any], start_error: str) -> None:
    assert check(observation, acknowledged=False, age_s=9_999.0, start_error=start_error, **field) is None


@pytest.mark.parametrize(
    ("kind", "starts", "delay_s"),
    [
        ("crashed", 0, 0.0),  # progress was made since the start
        ("crashed", 1, 0.0),
        ("crashed", 2, 1.0),
        ("crashed", 3, 2.0),
        ("crashed", 4, 4.0),
        ("exited", 1, 0.0),
        ("exited", 3, 2.0),
        ("not-ready", 1, 0.0),
        ("start-failed", 0, 1.0),
        ("start-failed", 1, 1.0),
        ("start-failed", 2, 2.0),
        ("start-failed", 4, 8.0),
    ],
)
def test_restart_with_back_off(kind: str, starts: int, delay_s: float) -> None:
    step = escalate(kind, History(starts_s=(5.0,) * starts, bead_starts=starts))
    assert (step.action, step.delay_s, step.call_human) == ("restart", delay_s, False)
    assert step.text


def test_back_off_has_a_ceiling() -> None:
    history = History(starts_s=(5.0,) * 400, bead_starts=400)
    step = escalate("crashed", history, restarts_per_window=1000, restarts_per_bead=1000)
    assert step.delay_s == 60.0


def test_a_silent_exit_is_reminded_of_done() -> None:
    assert escalate("exited", History(starts_s=(5.0,), bead_starts=1)).text == REMINDER


def test_a_crash_says_what_happened() -> None:
    assert "because" in escalate("crashed", History()).text


@pytest.mark.parametrize("kind", ["crashed", "exited", "not-ready", "start-failed"])
@pytest.mark.parametrize(
    ("history", "why"),
    [
        (History(starts_s=(1.0, 2.0, 3.0, 4.0, 600.0), bead_starts=5), "5 starts within 600 s"),
        (History(starts_s=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), bead_starts=7), "7 starts within 600 s"),
        (History(starts_s=(1.0,), bead_starts=10), "10 starts for this bead"),
    ],
)
def test_exhaustion_pauses_and_calls_a_human(kind: str, history: History, why: str) -> None:
    step = escalate(kind, history)
    assert (step.action, step.call_human) == ("pause", True)
    assert why in step.why


def test_starts_outside_the_window_do_not_count() -> None:
    assert escalate("crashed", History(starts_s=(1.0, 2.0, 3.0, 4.0, 600.5), bead_starts=5)).action == "restart"


@pytest.mark.parametrize("kind", ["exited", "not-ready"])
def test_a_second_time_in_the_new_session_pauses(kind: str) -> None:
    step = escalate(kind, History(steps=(restarted(kind, 1),)), session_no=2)
    assert (step.action, step.call_human) == ("pause", True)


@pytest.mark.parametrize("kind", ["exited", "not-ready"])
def test_a_second_time_after_a_crash_in_between_pauses(kind: str) -> None:
    assert escalate(kind, History(steps=(restarted(kind, 1), restarted("crashed", 2))), session_no=3).action == "pause"


@pytest.mark.parametrize("kind", ["exited", "not-ready"])
def test_a_session_that_no_restart_began_starts_afresh(kind: str) -> None:
    """Session 1 was restarted, session 2 submitted and came back for rework as session 3."""
    assert escalate(kind, History(steps=(restarted(kind, 1),)), session_no=3).action == "restart"


def test_one_kind_does_not_use_up_the_other() -> None:
    assert escalate("exited", History(steps=(restarted("not-ready", 1),)), session_no=2).action == "restart"


def test_crashes_may_repeat() -> None:
    steps = (restarted("crashed", 1), restarted("crashed", 2))
    assert escalate("crashed", History(starts_s=(1.0, 2.0, 3.0), bead_starts=3, steps=steps), session_no=3).action == "restart"


def test_a_human_is_called_once_for_a_session() -> None:
    called = PastStep(action="pause", finding="crashed", session_no=5, age_s=3.0, called_human=True)
    history = History(starts_s=(1.0,) * 5, bead_starts=5, steps=(called,))
    again = escalate("crashed", history, session_no=5)
    assert (again.action, again.call_human) == ("pause", False)
    later = escalate("crashed", history, session_no=6)
    assert (later.action, later.call_human) == ("pause", True)


@pytest.mark.parametrize("kind", ["stuck", "", "CRASHED", "conflict"])
def test_findings_of_others_are_left_to_others(kind: str) -> None:
    finding = Finding(kind=kind, severity="high", why="because", plugin="other")
    assert vermas_watchdog.vermas_escalate(rig=rig(), polecat=polecat(), finding=finding, history=History(), now=NOW) is None


@pytest.mark.parametrize(
    "options",
    [{"restarts_per_window": 0}, {"restarts_per_bead": -1}, {"window_s": 0}, {"backoff_base_s": -1.0}, {"backoff_max_s": -0.1}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Options(**options)


def test_every_state_has_an_answer() -> None:
    """All combinations: a dead session without a submission always yields a finding, a finding always a step."""
    truth = itertools.product([ALIVE, ZERO, ONE, KILLED, NO_CODE, GONE, UNKNOWN], [False, True], ["", "op"], ["", "boom"], [False, True])
    for observation, submitted, stopped_by, start_error, acknowledged in truth:
        finding = check(
            observation, submitted=submitted, stopped_by=stopped_by, start_error=start_error, acknowledged=acknowledged, age_s=999.0
        )
        dead = observation.state in ("exited", "gone")
        expected = not submitted and not stopped_by and (dead or (observation.state == "alive" and not acknowledged))
        assert (finding is not None) == expected
        if finding:
            assert escalate(finding.kind, History(starts_s=(1.0,), bead_starts=1)).action == "restart"


DEATHS = st.lists(
    st.tuples(st.sampled_from(["crashed", "exited", "not-ready", "start-failed"]), st.floats(min_value=0.0, max_value=400.0)),
    min_size=1,
    max_size=40,
)


def live(deaths: list[tuple[str, float]], before: int) -> tuple[list[float], list[Step]]:
    """The life of a polecat whose sessions die of `deaths`, as the core would count it; `before` starts of the bead were others'."""
    starts, taken, past = [0.0], list[Step](), list[tuple[float, PastStep]]()
    for session_no, (kind, lived_s) in enumerate(deaths, start=1):
        now = starts[-1] + lived_s
        history = History(
            starts_s=tuple(now - start for start in reversed(starts)),
            bead_starts=before + len(starts),
            steps=tuple(dataclasses.replace(step, age_s=now - at) for at, step in past),
        )
        step = escalate(kind, history, session_no=session_no)
        taken.append(step)
        past.append((now, PastStep(action=step.action, finding=kind, session_no=session_no, age_s=0.0, called_human=step.call_human)))
        if step.action == "pause":
            again = dataclasses.replace(history, steps=tuple(step for _, step in past))
            taken.append(escalate(kind, again, session_no=session_no))
            break
        starts.append(now + step.delay_s)
    return starts, taken


@given(deaths=DEATHS, before=st.integers(min_value=0, max_value=12))
def test_starts_are_bounded_and_a_human_is_called_once(deaths: list[tuple[str, float]], before: int) -> None:
    starts, taken = live(deaths, before)
    for index in range(len(starts)):
        assert sum(starts[index] <= start <= starts[index] + 600.0 for start in starts) <= 5
    assert len(starts) <= max(1, 10 - before)
    assert [step.action for step in taken].count("pause") in (0, 2)
    assert sum(step.call_human for step in taken) == (1 if taken[-1].action == "pause" else 0)
    assert all(0.0 <= step.delay_s <= 60.0 for step in taken)


@given(kind=st.sampled_from(["crashed", "start-failed"]), lived_s=st.floats(min_value=0.0, max_value=100.0))
def test_a_loop_of_crashes_ends_after_five_starts(kind: str, lived_s: float) -> None:
    starts, taken = live([(kind, lived_s)] * 20, before=0)
    assert len(starts) == 5
    assert taken[-2].call_human
