"""The mechanical watchdog of VerMAS: it tells failed starts, crashes, silent exits and missed start-ups, and bounds restarts.

Two pure functions of their arguments. What a polecat has used up is counted by the core on disk, so a restart of VerMAS changes nothing.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from vermas.hookspecs import hookimpl
from vermas.types import Evidence, Finding, History, Observation, Polecat, Rig, Step

REMINDER = (
    "Your previous session ended without `vermas done`. The checkout is as it was left. Finish what is missing, commit, and end with "
    "`vermas done` (or `vermas done --exit escalated` when the work cannot be finished)."
)
CARRY_ON = "Your previous session broke off: {why}. The checkout is as it was left: look at it first, then carry on."

#: `Evidence.stopped_by` when neither VerMAS nor the operator's verbs ended the session, but a signal did: its terminal went away, say.
SIGNALS = ("HUP", "TERM", "INT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`[rigs.R.options.watchdog]`. All counts are of session starts, the first one included, since the last progress."""

    #: At most so many starts of one polecat in any `window_s`; then it is paused and a human is called.
    restarts_per_window: int = 5
    window_s: float = 600.0
    #: At most so many starts for one bead, whichever polecats made them.
    restarts_per_bead: int = 10
    #: The first crash is restarted at once, the next after `backoff_base_s` seconds, then twice as long each time, up to `backoff_max_s`.
    backoff_base_s: float = 1.0
    backoff_max_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("restarts_per_window", "restarts_per_bead", "window_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, it is {getattr(self, name)}")
        for name in ("backoff_base_s", "backoff_max_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, it is {getattr(self, name)}")


@hookimpl
def vermas_health_check(rig: Rig, polecat: Polecat, evidence: Evidence, now: float) -> Finding | None:
    """The process truth only: what an agent is doing while it lives is for other policies."""
    seen = evidence.observation
    outside = evidence.stopped_by in SIGNALS
    if evidence.submitted or (evidence.stopped_by and not outside) or seen.state == "unknown":
        return None
    if seen.state == "alive":
        if evidence.acknowledged or evidence.age_s <= evidence.ready_deadline_s:
            return None
        return Finding(kind="not-ready", severity="medium", why=f"not ready within {evidence.ready_deadline_s:g} s of its start")
    if evidence.start_error:
        return Finding(kind="start-failed", severity="high", why=f"the session did not start: {evidence.start_error}")
    if outside:
        return Finding(kind="crashed", severity="high", why=f"the session was ended from outside by SIG{evidence.stopped_by}")
    if seen.state == "exited" and seen.exit_code == 0:
        return Finding(kind="exited", severity="medium", why="the agent ended with exit code 0 and without `vermas done`")
    return Finding(kind="crashed", severity="high", why=_how_it_ended(seen))


@hookimpl
def vermas_escalate(rig: Rig, polecat: Polecat, finding: Finding, history: History, now: float) -> Step | None:
    """Restart in the same sandbox while the budgets last, else pause and call a human, once."""
    if finding.kind not in ("start-failed", "crashed", "exited", "not-ready"):
        return None
    options: Options = rig.options.get("watchdog", Options())
    stop = _exhausted(options, history) or _repeated(finding, polecat, history)
    if stop:
        called = any(past.called_human and past.session_no == polecat.session_no for past in history.steps)
        return Step(action="pause", why=f"{finding.why}; {stop}", call_human=not called)
    text = REMINDER if finding.kind == "exited" else CARRY_ON.format(why=finding.why)
    return Step(action="restart", why=finding.why, text=text, delay_s=_delay_s(options, finding, history))


def _how_it_ended(seen: Observation) -> str:
    if seen.state == "gone":
        return "the session is gone"
    if seen.signal is not None:
        return f"the agent was killed by {_signal_name(seen.signal)}"
    if seen.exit_code is not None:
        return f"the agent ended with exit code {seen.exit_code}"
    return "the agent ended, its exit code is unknown"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _exhausted(options: Options, history: History) -> str:
    """Why one start more would be one too many, or "". Ages only grow until the start, so counting now errs on the safe side."""
    recent = sum(age <= options.window_s for age in history.starts_s)
    if recent >= options.restarts_per_window:
        return f"{recent} starts within {options.window_s:g} s and no progress"
    if history.bead_starts >= options.restarts_per_bead:
        return f"{history.bead_starts} starts for this bead and no progress"
    return ""


def _repeated(finding: Finding, polecat: Polecat, history: History) -> str:
    """Silent exits and missed start-ups get one new session each in an unbroken run of restarts: a session that the
    operator or a rework began starts afresh."""
    if finding.kind not in ("exited", "not-ready"):
        return ""
    restarts = {past.session_no: past.finding for past in history.steps if past.action == "restart"}
    session_no = polecat.session_no - 1
    while session_no in restarts:
        if restarts[session_no] == finding.kind:
            return "a new session has not helped"
        session_no -= 1
    return ""


def _delay_s(options: Options, finding: Finding, history: History) -> float:
    """The back-off. A failed start always waits: what made it fail is rarely gone at once."""
    recent = sum(age <= options.window_s for age in history.starts_s)
    doublings = recent - (1 if finding.kind == "start-failed" else 2)
    if doublings < 0:
        return options.backoff_base_s if finding.kind == "start-failed" else 0.0
    return min(options.backoff_base_s * 2.0 ** min(doublings, 64), options.backoff_max_s)
