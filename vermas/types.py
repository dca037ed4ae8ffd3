"""The values that flow through the hooks, in the order in which they appear in the life of a bead.

All are frozen, keyword-only, JSON-serialisable (`to_json`, `from_json`) and free of secrets. Times are seconds since the epoch
(`_at`, for display) or seconds (`_s`); sizes are bytes (`_bytes`); commits and trees are full hexadecimal object names.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Severity = Literal["low", "medium", "high", "critical"]
Action = Literal["note", "nudge", "handoff", "restart", "pause"]

#: `Step` actions from the weakest to the strongest; the core takes the strongest that any policy asks for.
ACTIONS: tuple[Action, ...] = ("note", "nudge", "handoff", "restart", "pause")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """One project of a town as its plugins see it.

    `path` is the rig's directory, `yard` the bare repository that sandboxes hang on (agents can write it: never trust its refs,
    config or hooks), `vault` the bare repository that only VerMAS writes. `run_dir` is the town's 0700 directory for sockets.
    `options[NAME]` is the validated `Options` dataclass of plugin NAME, when it has one.
    """

    name: str
    town_id: str
    town: str
    path: str
    yard: str
    vault: str
    run_dir: str
    origin: str
    target: str
    prefix: str
    check: str
    agent: str
    max_polecats: int
    plugins: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """An edge stored on the dependent bead: `bead_id` depends on `depends_on` in the manner of `type` (`blocks`, `parent-child`…)."""

    bead_id: str
    depends_on: str
    type: str = "blocks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bead:
    """An issue. `priority` is 0 (critical) to 4 (backlog). `record` is the whole `issues.jsonl` object, unknown fields included."""

    id: str
    rig: str
    title: str
    description: str = ""
    acceptance_criteria: str = ""
    status: str = "open"
    issue_type: str = "task"
    priority: int = 2
    assignee: str = ""
    labels: tuple[str, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    created_at: str = ""
    updated_at: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defer:
    """A gate's answer: do not start this bead now; ask again in `retry_after_s` seconds (None: at the next change)."""

    why: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A name and a place for one polecat. `name` matches `[a-z0-9][a-z0-9-]{0,38}`; `place` is `"local"` for this machine."""

    name: str
    place: str = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """No slot now (a full pool is pending, not an error); ask again in `retry_after_s` seconds."""

    why: str
    retry_after_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Polecat:
    """One worker on one bead.

    `id` is never reused. `session_no` counts its sessions from 1 (0: none yet). `slot_dir` is the directory of the slot; the
    checkout belongs at `slot_dir/<rig name>`; `home` is the polecat's own 0700 directory beside it (prompt, settings, token, logs).
    `branch` is the branch its sandbox must have. `actor` is its address, `<rig>/polecats/<slot>`. `resume_token` is what the agent
    plugin's last `Launch.resume_token` was: an agent's own session id.
    """

    id: str
    rig: str
    bead: Bead
    slot: Slot
    session_no: int
    slot_dir: str
    home: str
    branch: str
    agent: str
    actor: str
    resume_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """An isolated checkout, made by plugin `driver`: `path` as the session sees it, `branch`, and the commit it started from."""

    driver: str
    path: str
    branch: str
    base_sha: str


SandboxKind = Literal["clean", "dirty", "conflicted", "missing", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxState:
    """What a look at a sandbox showed.

    `kind` is the summary; only `clean` is ever safe, and `unknown` (the look failed) is as precious as `dirty`. `head` is the
    commit checked out ("" when unborn), `branch` the branch ("" when detached), `commits` how many commits `head` has that the base has
    not, `operation` a merge, rebase, cherry-pick, revert or bisect in progress, `conflicts` the unmerged paths with their two-letter kind
    (`UU`, `AA`, `DU`…), `changed` and `untracked` the number of such paths, `stashes` the stash entries on this
    branch, `submodules` the paths of modified submodules, `evidence` short human sentences.
    """

    kind: SandboxKind
    head: str = ""
    branch: str = ""
    commits: int = 0
    operation: str = ""
    detached: bool = False
    unborn: bool = False
    conflicts: tuple[str, ...] = ()
    changed: int = 0
    untracked: int = 0
    stashes: int = 0
    submodules: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


PromptDelivery = Literal["argument", "file", "stdin", "paste"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFile:
    """A file for the core to write before the start: `path` is absolute and outside the checkout; `mode` its permission bits."""

    path: str
    content: str
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start an agent.

    `argv` is run without a shell in the sandbox; `env` is added to the session's allow-listed environment; `secrets` are names of
    variables of the operator's environment to pass on when set; `files` are written first. `prompt` says how the agent gets
    the first prompt: `argument` (already in `argv`), `file` (it reads `VERMAS_PROMPT_FILE`), `stdin`,
    or `paste` (the core sends it when ready).
    `ready` is `"process"` (running is ready) or `"signal"` (ready once the agent called an in-session verb); `ready_deadline_s` is how
    long that may take. `resume_token` is what the next launch of this polecat gets back as `polecat.resume_token`.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    files: tuple[LaunchFile, ...] = ()
    prompt: PromptDelivery = "file"
    ready: Literal["process", "signal"] = "process"
    ready_deadline_s: float = 120.0
    resume_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A durable handle of a running agent process, made by plugin `driver` (at most 4 kB as JSON).

    `id` is the core's name for it (`<polecat_id>-<session_no>`), `locator` whatever the driver needs to find it again from a fresh process.
    """

    driver: str
    id: str
    polecat_id: str
    session_no: int
    place: str = "local"
    locator: Mapping[str, str] = field(default_factory=dict)


ObservedState = Literal["alive", "exited", "gone", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a runtime saw of one session.

    `gone` means that the back end answered and has no such session; `unknown` that it could not be asked (`why` says so). `exit_code`
    and `signal` are set for `exited` when known (exactly one of them). `output_bytes` is the total that the session has printed.
    """

    state: ObservedState
    exit_code: int | None = None
    signal: int | None = None
    output_bytes: int | None = None
    attached: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A piece of a session's output. `cursor` is where the next read goes on; `gap` says that bytes before `data` were dropped; `eof` that
    the session ended and nothing follows. As JSON `data` is Latin-1 text."""

    data: bytes
    cursor: int
    gap: bool = False
    eof: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a message. `unknown` means that it may or may not have arrived: it is never sent twice under the same key."""

    state: Literal["delivered", "rejected", "unknown"]
    why: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """Something the agent said of itself through `vermas signal NAME` (or an in-session verb): `age_s` seconds ago, in `session_no`."""

    name: str
    age_s: float
    session_no: int
    data: Mapping[str, Any] = field(default_factory=dict)


AgentKind = Literal[
    "starting", "working", "waiting-input", "asking-permission", "rate-limited", "logged-out", "context-full", "finished", "unknown"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """What an agent is doing, by its plugin: `source` is `events`, `transcript` or `screen`; `confidence` is 0 to 1;
    `reset_s` the seconds until a rate limit ends, when known."""

    kind: AgentKind
    source: Literal["events", "transcript", "screen", "process"]
    confidence: float = 1.0
    reset_s: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a session has spent so far, as far as its agent tells."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything known of a polecat's present session at one tick; the only ground for a `Finding`.

    `observation` is the process truth (the supervisor's lock and exit record, else the runtime). `age_s` counts since the start was
    decided, `idle_s` since the last progress (a commit, a changed tree, an agent event). `acknowledged` says that the agent was
    ready; `ready_deadline_s` until when it must be. `progressed` says that this session has made progress at all. `stopped_by` names
    who ended it, when it was not itself. `start_error` says why the session never started. `events` are the agent's, the
    newest last; `agent` their meaning. `output_tail` is the end of the output, sanitised.
    """

    polecat_id: str
    session_no: int
    observation: Observation
    age_s: float
    idle_s: float
    acknowledged: bool
    ready_deadline_s: float
    progressed: bool = False
    submitted: bool = False
    stopped_by: str = ""
    start_error: str = ""
    events: tuple[AgentEvent, ...] = ()
    agent: AgentState | None = None
    output_tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A judgement on evidence. `kind` is a stable word: `start-failed`, `crashed`, `exited`, `not-ready`, `stuck`…;
    `plugin` is filled by the core."""

    kind: str
    severity: Severity
    why: str
    plugin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStep:
    """A step that the core has taken for this polecat: `age_s` seconds ago, for a finding of kind `finding`, in `session_no`."""

    action: Action
    finding: str
    session_no: int
    age_s: float
    called_human: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the store remembers of a polecat and its bead. `starts_s` are the ages of its session starts, the newest first, counted
    on disk before each start, since its last progress; `bead_starts` those of all polecats of this bead since then;
    `steps` the newest last."""

    starts_s: tuple[float, ...] = ()
    bead_starts: int = 0
    steps: tuple[PastStep, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do about a finding. `text` is the message of a nudge or the reason shown to the next session; `delay_s` waits before it
    is carried out; `call_human` opens an incident beside the action."""

    action: Action
    why: str
    call_human: bool = False
    text: str = ""
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something a human should hear of once: `key` makes equal ones one."""

    id: int
    rig: str
    key: str
    severity: Severity
    title: str
    body: str
    opened_at: float
    polecat_id: str = ""
    bead_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Finished work: the pinned `commit` in the vault, what it started from, and who made it.
    `attempt` counts landing attempts of this bead from 1."""

    id: int
    rig: str
    bead_id: str
    bead_title: str
    polecat_id: str
    session_no: int
    commit: str
    branch: str
    base_sha: str
    target: str
    actor: str = ""
    attempt: int = 1
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What would land. `kind` is `merge` (then `commit`, `tree` and `base`, the target it was built on, are set), `conflict` (`files`), or
    `noop` (the work is already contained in the target)."""

    kind: Literal["merge", "conflict", "noop"]
    submission: Submission
    base: str
    commit: str = ""
    tree: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one verifier says of a candidate. `running` means: ask again when the check's process ended (`wait_pid`, 0 when unknown) or
    after a second. `config_hash` names the configuration that was checked; `log` is a file with the whole output."""

    kind: Literal["pass", "fail", "needs-human", "running"]
    reasons: tuple[str, ...] = ()
    log: str = ""
    config_hash: str = ""
    wait_pid: int = 0
    plugin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """What became of a push: `landed` (`sha` is the target as re-read from the origin), `moved` (a new candidate is needed), `rejected`
    (`log` says why; a human must act) or `retry` (in `retry_after_s` seconds)."""

    kind: Literal["landed", "moved", "rejected", "retry"]
    sha: str = ""
    log: str = ""
    retry_after_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the town's history. `seq` orders; `at` is wall-clock time for display; `data` is evidence."""

    seq: int
    at: float
    rig: str
    kind: str
    bead_id: str = ""
    polecat_id: str = ""
    session_no: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the text that an agent sees when its session starts."""

    title: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One result of `vermas doctor`; `hint` says how to mend it."""

    name: str
    status: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""


def to_json(value: Any) -> Any:
    """The plain JSON form (objects, arrays, strings, numbers) of any value of this module."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    """The value of type `cls` whose `to_json` form is `data`. Raises TypeError for unknown or missing fields."""
    hints = _hints(cls)
    return cls(**{name: _restore(hints.get(name, Any), item) for name, item in data.items()})


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(cls: type) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


def _restore(hint: Any, item: Any) -> Any:
    if item is None:
        return None
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, item)
    if hint is bytes:
        return item.encode("latin-1")
    if isinstance(hint, types.UnionType):
        return _restore(next(arg for arg in typing.get_args(hint) if arg is not type(None)), item)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_restore(inner, part) for part in item)
    return item
