"""The hooks of VerMAS: signatures and meaning. Plugin authors import this module, `vermas.types` and `vermas.errors`, nothing else.

All hooks are synchronous and may be called from several threads for different polecats. Times are passed in, durations end in `_s`.
`None` always means "not mine" or "no opinion". The first line of each docstring carries the hook's kind and the version that introduced it:

- **exclusive**: exactly one plugin of a rig implements it; none or two is an error at load.
- **first**: asked in the order in which the rig lists its plugins; the first answer that is not `None` counts.
- **broadcast**: everyone is asked; an exception, a wrong type or a missed deadline becomes an event that names the plugin, never an outage.
- **driver**: goes to the plugin that made the handle, also when the rig has another one by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
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

hookspec = pluggy.HookspecMarker("vermas")
hookimpl = pluggy.HookimplMarker("vermas")


@hookspec
def vermas_gate(rig: Rig, bead: Bead, running: Sequence[Polecat], now: float) -> Defer | None:
    """May this bead start now? (broadcast, since 0.1)

    Called before a slot is looked for, for each ready bead in turn, and again whenever the gate said to ask again.

    :param rig: the rig of the bead.
    :param bead: an open, unclaimed bead without open blockers.
    :param running: the polecats of the rig that hold a slot.
    :param now: wall-clock seconds since the epoch.
    :returns: `Defer(why, retry_after_s)` to hold the bead back: one is enough; `None` to let it pass.
    :raises Exception: counts as no opinion and is recorded.
    """


@hookspec(firstresult=True)
def vermas_allocate(rig: Rig, bead: Bead, taken: Sequence[str], now: float) -> Slot | Pending | None:
    """Choose a slot for a bead. (first, since 0.1)

    Called without any lock held; must have no effects. The store's unique index decides races: whoever loses is asked again.

    :param taken: the slot names in use, those of polecats whose work is still being landed included.
    :returns: a `Slot` whose name is not in `taken`; `Pending` when the pool is full; `None` to leave it to the next plugin.
    :raises Exception: the bead stays ready and the failure is recorded.
    """


@hookspec
def vermas_release(rig: Rig, slot: Slot) -> None:
    """A slot is free again. (broadcast, since 0.1)

    Called after the polecat's sandbox is gone and its slot was freed in the store; may be called again after a crash.
    """


@hookspec(firstresult=True)
def vermas_sandbox_create(rig: Rig, polecat: Polecat, base: str) -> Sandbox:
    """Make the isolated checkout of a polecat. (exclusive, since 0.1)

    Must be idempotent for the same polecat: called again after a crash it completes or remakes what is there. No agent has ever
    worked in the sandbox at that time, so half-made remains may be discarded.

    :param polecat: `polecat.slot_dir/<rig.name>` is the place, `polecat.branch` the branch to create.
    :param base: the full name of the commit to start from; it is in `rig.vault`.
    :returns: the handle; `driver` is the plugin's own name.
    :raises Exception: the spawn is retried, then reported.
    """


@hookspec(firstresult=True)
def vermas_sandbox_inspect(rig: Rig, sandbox: Sandbox) -> SandboxState:
    """Look at a sandbox without touching it. (driver, since 0.1)

    Must not take locks that an agent's own git could meet and must not run code that the repository's configuration names.

    :returns: the state; a look that failed is `unknown`, never `clean` or `missing`.
    """


@hookspec(firstresult=True)
def vermas_sandbox_snapshot(rig: Rig, sandbox: Sandbox) -> str:
    """Save everything worth keeping as one commit. (driver, since 0.1)

    Tracked changes, the index and untracked files that are not ignored are included, and the present commit is an ancestor. The sandbox
    itself (index, branch, files) stays as it is. Called twice without a change in between it answers the same name.

    :returns: the full commit name, fetchable by the core from `sandbox.path`; the present commit itself when nothing is unsaved.
    :raises Exception: nothing is removed.
    """


@hookspec(firstresult=True)
def vermas_sandbox_remove(rig: Rig, sandbox: Sandbox) -> None:
    """Remove a sandbox. (driver, since 0.1)

    Only ever called after the snapshot was read back from the vault and no session lives. Idempotent: an absent sandbox is success; a
    half-removed one is finished. The branch in the yard goes too, when it is still where the snapshot found it.
    """


@hookspec(firstresult=True)
def vermas_agent_launch(rig: Rig, role: str, polecat: Polecat, prompt_file: str, resume: bool) -> Launch | None:
    """Say how to start the agent `polecat.agent`. (first, since 0.1)

    Called once per session, before it starts; must have no effects (files are written by the core from `Launch.files`).

    :param role: `polecat` for workers; other roles later.
    :param prompt_file: an absolute path outside the checkout with the first prompt; it exists already.
    :param resume: the polecat had a session before: continue it where the agent can.
    :returns: the `Launch`; `None` when the agent is not this plugin's.
    :raises Exception: the start counts as failed.
    """


@hookspec(firstresult=True)
def vermas_agent_classify(rig: Rig, polecat: Polecat, evidence: Evidence) -> AgentState | None:
    """Say what the agent is doing. (first, since 0.1)

    A pure function of its arguments: events before transcript before screen.

    :returns: the state; `None` when unsure or when the agent is not this plugin's.
    :raises Exception: counts as `None` and is recorded.
    """


@hookspec(firstresult=True)
def vermas_agent_usage(rig: Rig, polecat: Polecat, evidence: Evidence) -> Usage | None:
    """Say what the session has spent. (first, since 0.1)

    Called when a session ends; the answer is recorded in the event of its end.

    :raises Exception: counts as `None` and is recorded.
    """


@hookspec(firstresult=True)
def vermas_session_start(rig: Rig, polecat: Polecat, sandbox: Sandbox, launch: Launch) -> Session:
    """Start the agent. (exclusive, since 0.1)

    `launch.argv` is already wrapped in the supervisor (which holds the session's lock, sets the environment and records the exit), so
    the runtime only has to run it, detached, with `sandbox.path` as working directory and a terminal where it can offer one.
    Idempotent per `polecat.session_no`: called again for a session that this runtime already started it answers the same handle.

    :returns: the durable handle; `id` is `<polecat.id>-<polecat.session_no>`, `driver` the plugin's own name.
    :raises Exception: the start counts as failed, unless the supervisor's lock shows that it did start.
    """


@hookspec(firstresult=True)
def vermas_session_observe(rig: Rig, sessions: Sequence[Session]) -> dict[str, Observation]:
    """Look at sessions, all of this driver's in one call. (driver, since 0.1)

    One process at most for any number of sessions. A back end that cannot be asked makes all of them `unknown`.

    :returns: for each `session.id` its `Observation`; a missing key counts as `unknown`.
    """


@hookspec(firstresult=True)
def vermas_session_read(rig: Rig, session: Session, cursor: int, limit_bytes: int) -> Output:
    """Read a session's output from `cursor` on (0: from the start; negative: that many bytes before the end). (driver, since 0.1)

    Works on ended sessions as long as the output is kept. Never blocks for more.

    :returns: at most `limit_bytes` bytes; `gap` is True when bytes between `cursor` and the data were dropped.
    """


@hookspec(firstresult=True)
def vermas_session_send(rig: Rig, session: Session, text: str, key: str) -> Receipt:
    """Give a message to the agent, as if pasted and submitted. (driver, since 0.1)

    :param text: plain text, any size; control characters other than newline and tab are removed by the runtime.
    :param key: the same key is never delivered twice.
    :returns: `delivered` only when the terminal took all of it; `rejected` when the session is over; `unknown` otherwise.
    :raises Unsupported: when this runtime cannot send.
    """


@hookspec(firstresult=True)
def vermas_session_stop(rig: Rig, session: Session, grace_s: float) -> None:
    """End a session's whole process tree. (driver, since 0.1)

    TERM first, KILL after `grace_s`. Only this `session_no`: never a successor in the same place. Idempotent; an absent session is success.
    """


@hookspec
def vermas_session_discover(rig: Rig) -> list[Session]:
    """List the live sessions of this town and rig that this runtime knows. (broadcast, since 0.1)

    Called at start and by `vermas doctor`: for adoption after a crash and to find orphans.
    """


@hookspec(firstresult=True)
def vermas_session_attach(rig: Rig, session: Session) -> list[str] | None:
    """The command that shows the session in the user's terminal. (driver, since 0.1)

    :returns: an argv; `None` when this runtime has no such thing.
    """


@hookspec
def vermas_health_check(rig: Rig, polecat: Polecat, evidence: Evidence, now: float) -> Finding | None:
    """Judge a polecat. (broadcast, since 0.1)

    A pure function of its arguments, called at each tick and at each event.

    :returns: a `Finding`, or `None` when all is well or undecided.
    """


@hookspec
def vermas_escalate(rig: Rig, polecat: Polecat, finding: Finding, history: History, now: float) -> Step | None:
    """Say what to do about a finding. (broadcast, since 0.1)

    A pure function of its arguments. The core takes the strongest action of all answers and acts once per finding and session.

    :returns: a `Step`, or `None` when the kind of finding is not this policy's. A finding for which nobody has a step opens an incident.
    """


@hookspec
def vermas_notify(rig: Rig | None, incident: Incident) -> Receipt | None:
    """Tell a human. (broadcast, since 0.1)

    :param rig: `None` for incidents of the town.
    :returns: the channel's `Receipt`; `None` when this channel is not meant.
    """


@hookspec(firstresult=True)
def vermas_candidate(rig: Rig, submission: Submission) -> Candidate:
    """Build what would land: the pinned commit merged on the target as it is at the origin now. (exclusive, since 0.1)

    Works in `rig.vault` only, moves no branch. The same input gives the same commit name.

    :raises Exception: tried again later; after three failures in a row a human is told.
    """


@hookspec
def vermas_verify(rig: Rig, candidate: Candidate) -> Verdict | None:
    """Judge a candidate. (broadcast, since 0.1)

    All verdicts must be `pass`; no verdict at all is not a pass, unless the rig says `check = "none"`. Long checks answer `running`
    and are asked again: called any number of times for the same candidate, also after a restart, a check runs to its end once.

    :returns: the `Verdict`; `None` when this verifier has nothing to say about this rig.
    :raises Exception: not a pass; asked again later; after three failures in a row a human is told.
    """


@hookspec(firstresult=True)
def vermas_land(rig: Rig, candidate: Candidate) -> Landing:
    """Move the origin's target from `candidate.base` to `candidate.commit`, in one step, or not at all. (exclusive, since 0.1)

    Only called with a recorded pass for exactly this tree and base. Called again after a crash it recognises what already happened.
    """


@hookspec
def vermas_prime(rig: Rig, polecat: Polecat) -> Section | None:
    """Add a section to what an agent is told when its session starts. (broadcast, since 0.1)"""


@hookspec
def vermas_event(event: Event) -> None:
    """See an event of the town's history, after it was committed. (broadcast, since 0.1)"""


@hookspec
def vermas_doctor(rig: Rig) -> list[Check] | None:
    """Check what this plugin needs: binaries, versions, directories. (broadcast, since 0.1)"""
