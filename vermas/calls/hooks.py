"""The typed facade: one method per hook of `vermas.hookspecs`, without the prefix and with the rig filled in."""

# mypy: disable-error-code="no-any-return"
# pluggy's answers are Any; their types are checked at run time, before they get here.

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from vermas.calls import answers
from vermas.calls.asking import Asked, Asker, insist
from vermas.calls.deadlines import DEADLINES_S
from vermas.calls.failures import Failure, PluginFailure
from vermas.calls.rounds import Rounds
from vermas.calls.threads import Threads
from vermas.errors import Unsupported
from vermas.plugins import RigPlugins
from vermas.types import (
    AgentState,
    Bead,
    Candidate,
    Check,
    Defer,
    Event,
    Evidence,
    Finding,
    History,
    Incident,
    Landing,
    Launch,
    Observation,
    Output,
    Pending,
    Polecat,
    Receipt,
    Rig,
    Sandbox,
    SandboxState,
    Section,
    Session,
    Slot,
    Step,
    Submission,
    Usage,
    Verdict,
)


class Hooks:
    """Asks the plugins of one rig. Safe to use from several threads.

    Exclusive, first-answer and driver hooks answer or raise `PluginFailure` (`PluginTimeout`, `PluginBusy`). Broadcasts, observations and
    opinions answer what the plugins that work said; what went wrong with the others goes to `report`, once for each overdue call.
    """

    def __init__(
        self,
        rig: Rig,
        plugins: RigPlugins,
        report: Callable[[Failure], None],
        *,
        threads: Threads | None = None,
        deadlines_s: Mapping[str, float] = DEADLINES_S,
    ) -> None:
        self.rig = rig
        self.plugins = plugins
        self._ask = Rounds(plugins, Asker(plugins, threads or Threads(), deadlines_s), report)

    def report(self, error: PluginFailure) -> None:
        """Record the failure of a call after which the caller goes on."""
        self._ask.report(error)

    def gate(self, bead: Bead, running: Sequence[Polecat], now: float) -> list[Defer]:
        arguments = {"rig": self.rig, "bead": bead, "running": running, "now": now}
        return [answer for _, answer in self._ask.broadcast("vermas_gate", bead.id, arguments)]

    def allocate(self, bead: Bead, taken: Sequence[str], now: float) -> Slot | Pending | None:
        """A free slot, `Pending`, or None when no plugin has an opinion."""
        arguments = {"rig": self.rig, "bead": bead, "taken": taken, "now": now}
        said = self._ask.first("vermas_allocate", bead.id, arguments)
        if said is None:
            return None
        asked, answer = said
        insist(asked, answers.slot(answer, taken) if isinstance(answer, Slot) else "")
        return answer

    def release(self, slot: Slot) -> None:
        self._ask.broadcast("vermas_release", slot.name, {"rig": self.rig, "slot": slot})

    def sandbox_create(self, polecat: Polecat, base: str) -> Sandbox:
        arguments = {"rig": self.rig, "polecat": polecat, "base": base}
        asked, answer = self._ask.exclusive("vermas_sandbox_create", polecat.id, arguments)
        insist(asked, answers.sandbox(answer, asked.plugin.name, polecat))
        return answer

    def sandbox_inspect(self, sandbox: Sandbox) -> SandboxState:
        arguments = {"rig": self.rig, "sandbox": sandbox}
        return self._ask.driver("vermas_sandbox_inspect", sandbox.driver, sandbox.path, arguments)[1]

    def sandbox_snapshot(self, sandbox: Sandbox) -> str:
        arguments = {"rig": self.rig, "sandbox": sandbox}
        asked, answer = self._ask.driver("vermas_sandbox_snapshot", sandbox.driver, sandbox.path, arguments)
        insist(asked, answers.commit(answer))
        return answer

    def sandbox_remove(self, sandbox: Sandbox) -> None:
        self._ask.order("vermas_sandbox_remove", sandbox.driver, sandbox.path, {"rig": self.rig, "sandbox": sandbox})

    def agent_launch(self, role: str, polecat: Polecat, prompt_file: str, resume: bool) -> Launch | None:
        """How to start the polecat's agent; None when no active plugin knows this agent."""
        arguments = {"rig": self.rig, "role": role, "polecat": polecat, "prompt_file": prompt_file, "resume": resume}
        said = self._ask.first("vermas_agent_launch", polecat.id, arguments)
        return said[1] if said else None

    def agent_classify(self, polecat: Polecat, evidence: Evidence) -> AgentState | None:
        """None when nobody is sure; a failure is reported and counts as that."""
        return self._ask.opinion("vermas_agent_classify", polecat.id, {"rig": self.rig, "polecat": polecat, "evidence": evidence})

    def agent_usage(self, polecat: Polecat, evidence: Evidence) -> Usage | None:
        """None when nobody knows; a failure is reported and counts as that."""
        return self._ask.opinion("vermas_agent_usage", polecat.id, {"rig": self.rig, "polecat": polecat, "evidence": evidence})

    def session_start(self, polecat: Polecat, sandbox: Sandbox, launch: Launch) -> Session:
        arguments = {"rig": self.rig, "polecat": polecat, "sandbox": sandbox, "launch": launch}
        asked, answer = self._ask.exclusive("vermas_session_start", polecat.id, arguments)
        insist(asked, answers.session_of(answer, asked.plugin.name, polecat))
        return answer

    def session_observe(self, sessions: Sequence[Session]) -> dict[str, Observation]:
        """An observation for each session: one call per driver, all at once; whoever fails makes its own `unknown` and is reported."""
        groups: dict[str, list[Session]] = {}
        for session in sessions:
            groups.setdefault(session.driver, []).append(session)
        seen: dict[str, Observation] = {}
        under_way: list[tuple[Asked, list[Session]]] = []
        for driver, group in groups.items():
            try:
                arguments = {"rig": self.rig, "sessions": group}
                under_way.append((self._ask.begin_driver("vermas_session_observe", driver, "", arguments), group))
            except PluginFailure as error:
                seen |= self._unseen(group, error)
        for asked, group in under_way:
            try:
                answer = self._ask.end(asked)
                insist(asked, answers.observations(answer))
                seen |= {session.id: answer.get(session.id, _UNMENTIONED) for session in group}
            except PluginFailure as error:
                seen |= self._unseen(group, error)
        return seen

    def session_read(self, session: Session, cursor: int, limit_bytes: int) -> Output:
        arguments = {"rig": self.rig, "session": session, "cursor": cursor, "limit_bytes": limit_bytes}
        asked, answer = self._ask.driver("vermas_session_read", session.driver, session.id, arguments)
        insist(asked, answers.output(answer, limit_bytes))
        return answer

    def session_send(self, session: Session, text: str, key: str) -> Receipt:
        """:raises Unsupported: the session's runtime cannot send."""
        if self._ask.lacks("vermas_session_send", session.driver):
            raise Unsupported(f"runtime {session.driver!r} cannot send to a session")
        arguments = {"rig": self.rig, "session": session, "text": text, "key": key}
        return self._ask.driver("vermas_session_send", session.driver, session.id, arguments)[1]

    def session_stop(self, session: Session, grace_s: float) -> None:
        arguments = {"rig": self.rig, "session": session, "grace_s": grace_s}
        self._ask.order("vermas_session_stop", session.driver, session.id, arguments, extra_s=grace_s)

    def session_discover(self) -> list[Session]:
        """The live sessions that the rig's runtimes know; a runtime that failed is missing here and was reported."""
        found: list[Session] = []
        for asked, sessions in self._ask.broadcast("vermas_session_discover", self.rig.name, {"rig": self.rig}):
            for session in sessions:
                try:
                    insist(asked, answers.session(session, asked.plugin.name))
                    found.append(session)
                except PluginFailure as error:
                    self._ask.report(error)
        return found

    def session_attach(self, session: Session) -> list[str] | None:
        """An argv for the user's terminal; None when the session's runtime has none."""
        if self._ask.lacks("vermas_session_attach", session.driver):
            return None
        asked = self._ask.begin_driver("vermas_session_attach", session.driver, session.id, {"rig": self.rig, "session": session})
        try:
            answer = self._ask.end(asked, may_be_none=True)
        except Unsupported:
            return None
        return None if answer is None else list(answer)

    def health_check(self, polecat: Polecat, evidence: Evidence, now: float) -> list[Finding]:
        """All findings, each with its `plugin` filled in."""
        arguments = {"rig": self.rig, "polecat": polecat, "evidence": evidence, "now": now}
        said = self._ask.broadcast("vermas_health_check", polecat.id, arguments)
        return [dataclasses.replace(finding, plugin=asked.plugin.name) for asked, finding in said]

    def escalate(self, polecat: Polecat, finding: Finding, history: History, now: float) -> list[Step]:
        arguments = {"rig": self.rig, "polecat": polecat, "finding": finding, "history": history, "now": now}
        return [answer for _, answer in self._ask.broadcast("vermas_escalate", polecat.id, arguments)]

    def notify(self, incident: Incident) -> list[Receipt]:
        """The receipts of all channels, each with its `channel` filled in: the plugin's name, unless it said another."""
        arguments = {"rig": self.rig if incident.rig else None, "incident": incident}
        said = self._ask.broadcast("vermas_notify", str(incident.id), arguments)
        return [receipt if receipt.channel else dataclasses.replace(receipt, channel=asked.plugin.name) for asked, receipt in said]

    def candidate(self, submission: Submission) -> Candidate:
        arguments = {"rig": self.rig, "submission": submission}
        asked, answer = self._ask.exclusive("vermas_candidate", submission.polecat_id, arguments)
        insist(asked, answers.candidate(answer))
        return answer

    def verify(self, candidate: Candidate) -> list[Verdict]:
        """All verdicts, each with its `plugin` filled in.

        :raises PluginFailure: a verifier failed, so that nobody knows whether the candidate is good, and no other one says that it is bad.
        """
        failed: list[PluginFailure] = []
        arguments = {"rig": self.rig, "candidate": candidate}
        said = self._ask.broadcast("vermas_verify", candidate.submission.polecat_id, arguments, lost=failed.append)
        if failed and all(verdict.kind != "fail" for _, verdict in said):
            raise failed[0]
        return [dataclasses.replace(verdict, plugin=asked.plugin.name) for asked, verdict in said]

    def land(self, candidate: Candidate) -> Landing:
        arguments = {"rig": self.rig, "candidate": candidate}
        asked, answer = self._ask.exclusive("vermas_land", candidate.submission.polecat_id, arguments)
        insist(asked, answers.landing(answer))
        return answer

    def prime(self, polecat: Polecat) -> list[Section]:
        return [answer for _, answer in self._ask.broadcast("vermas_prime", polecat.id, {"rig": self.rig, "polecat": polecat})]

    def event(self, event: Event) -> None:
        """Show an event to all who watch, except the event of a watcher's own failure to that watcher."""
        failed = event.data.get("plugin", "") if event.data.get("hook") == "vermas_event" else ""
        self._ask.broadcast("vermas_event", str(event.seq), {"event": event}, skip=str(failed))

    def doctor(self) -> list[tuple[str, Check]]:
        """Pairs of a plugin's name and one of its checks; a plugin whose checks failed is an `error` itself."""
        found: list[tuple[str, Check]] = []

        def lost(error: PluginFailure) -> None:
            name = error.failure.plugin
            found.append((name, Check(name=name, status="error", message=str(error), hint="report it to the plugin's author")))

        for asked, checks in self._ask.broadcast("vermas_doctor", self.rig.name, {"rig": self.rig}, lost=lost):
            found += [(asked.plugin.name, check) for check in checks]
        return found

    def _unseen(self, sessions: list[Session], error: PluginFailure) -> dict[str, Observation]:
        self._ask.report(error)
        return {session.id: Observation(state="unknown", why=str(error)) for session in sessions}


_UNMENTIONED = Observation(state="unknown", why="the runtime did not mention it")
