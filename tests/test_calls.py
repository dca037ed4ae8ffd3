"""Hook calls: typed, isolated, timed, attributed; on real plugins (modules made here), real threads."""

from __future__ import annotations

import contextvars
import dataclasses
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from vermas import hookspecs, types
from vermas.calls import DEADLINES_S, Failure, Hooks, PluginBusy, PluginFailure, PluginTimeout, Threads
from vermas.calls.answers import promised
from vermas.errors import Unsupported
from vermas.plugins import KINDS, Catalog, load
from vermas.plugins.installed import Installed

SHA = "a" * 40
RIG = types.Rig(
    name="app",
    town_id="town0001",
    town="/town",
    path="/town/app",
    yard="/town/app/yard.git",
    vault="/town/app/repo.git",
    run_dir="/run",
    origin="/origin",
    target="main",
    prefix="app",
    check="none",
    agent="script",
    max_polecats=5,
    plugins=(),
)
BEAD = types.Bead(id="app-1", rig="app", title="Do it")
POLECAT = types.Polecat(
    id="p1",
    rig="app",
    bead=BEAD,
    slot=types.Slot(name="slot0"),
    session_no=2,
    slot_dir="/town/app/polecats/slot0",
    home="/town/app/polecats/slot0/.p1",
    branch="polecat/slot0/app-1@p1",
    agent="script",
    actor="app/polecats/slot0",
)
SANDBOX = types.Sandbox(driver="one", path="/town/app/polecats/slot0/app", branch=POLECAT.branch, base_sha=SHA)
SESSION = types.Session(driver="one", id="p1-2", polecat_id="p1", session_no=2)
SUBMISSION = types.Submission(
    id=1, rig="app", bead_id="app-1", bead_title="Do it", polecat_id="p1", session_no=2, commit=SHA, branch="b", base_sha=SHA, target="main"
)
CANDIDATE = types.Candidate(kind="merge", submission=SUBMISSION, base=SHA, commit=SHA, tree=SHA)
OBSERVATION = types.Observation(state="alive")
EVIDENCE = types.Evidence(
    polecat_id="p1", session_no=2, observation=OBSERVATION, age_s=1, idle_s=1, acknowledged=True, ready_deadline_s=120
)
FINDING = types.Finding(kind="stuck", severity="low", why="quiet")
INCIDENT = types.Incident(id=1, rig="app", key="k", severity="low", title="t", body="b", opened_at=0.0)
EVENT = types.Event(seq=1, at=0.0, rig="app", kind="spawned")
LAUNCH = types.Launch(argv=("true",))

#: For every hook: its method's arguments, and a right answer.
CALLS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "vermas_gate": ((BEAD, [POLECAT], 0.0), types.Defer(why="later")),
    "vermas_allocate": ((BEAD, ("slot1",), 0.0), types.Slot(name="slot0")),
    "vermas_release": ((POLECAT.slot,), None),
    "vermas_sandbox_create": ((POLECAT, SHA), SANDBOX),
    "vermas_sandbox_inspect": ((SANDBOX,), types.SandboxState(kind="clean")),
    "vermas_sandbox_snapshot": ((SANDBOX,), SHA),
    "vermas_sandbox_remove": ((SANDBOX,), None),
    "vermas_agent_launch": (("polecat", POLECAT, "/prompt", False), LAUNCH),
    "vermas_agent_classify": ((POLECAT, EVIDENCE), types.AgentState(kind="working", source="events")),
    "vermas_agent_usage": ((POLECAT, EVIDENCE), types.Usage(input_tokens=3)),
    "vermas_session_start": ((POLECAT, SANDBOX, LAUNCH), SESSION),
    "vermas_session_observe": (([SESSION],), {"p1-2": OBSERVATION}),
    "vermas_session_read": ((SESSION, 0, 100), types.Output(data=b"x", cursor=1)),
    "vermas_session_send": ((SESSION, "hello", "key"), types.Receipt(state="delivered")),
    "vermas_session_stop": ((SESSION, 5.0), None),
    "vermas_session_discover": ((), [SESSION]),
    "vermas_session_attach": ((SESSION,), ["tmux", "attach"]),
    "vermas_health_check": ((POLECAT, EVIDENCE, 0.0), FINDING),
    "vermas_escalate": ((POLECAT, FINDING, types.History(), 0.0), types.Step(action="note", why="w")),
    "vermas_notify": ((INCIDENT,), types.Receipt(state="delivered", channel="mail")),
    "vermas_candidate": ((SUBMISSION,), CANDIDATE),
    "vermas_verify": ((CANDIDATE,), types.Verdict(kind="pass")),
    "vermas_land": ((CANDIDATE,), types.Landing(kind="landed", sha=SHA)),
    "vermas_prime": ((POLECAT,), types.Section(title="t", body="b")),
    "vermas_event": ((EVENT,), None),
    "vermas_doctor": ((), [types.Check(name="git", status="ok", message="2.39")]),
}
BROADCAST = [hook for hook in CALLS if KINDS[hook] == "broadcast"]
#: Neither raise when a plugin fails: what the others said is as good.
FORGIVING = {*BROADCAST, "vermas_session_observe", "vermas_agent_classify", "vermas_agent_usage"} - {"vermas_verify"}
ANSWERED = [hook for hook in CALLS if KINDS[hook] != "broadcast"]


class Rigged:
    """Hooks over plugins written in the test; what they report is in `reported`."""

    def __init__(self) -> None:
        self.reported: list[Failure] = []
        self.deadlines = dict(DEADLINES_S)
        self.threads = Threads()

    def hooks(self, *names: str, drivers: tuple[str, ...] = (), **plugins: ModuleType) -> Hooks:
        entries = [Installed(group="vermas", name=name, module=name, distribution=f"acme-{name}", version="1.2") for name in plugins]
        listed = names or tuple(plugins)
        loaded = load(listed, catalog=Catalog(tuple(entries)), extra=plugins, complete=False).with_drivers(drivers, plugins)
        return Hooks(RIG, loaded, self.reported.append, threads=self.threads, deadlines_s=self.deadlines)


@pytest.fixture
def rigged() -> Rigged:
    return Rigged()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Hanging plugins wait for it; set at the end, so that no thread outlives the test."""
    event = threading.Event()
    yield event
    event.set()


def implementing(hook: str, body: Callable[[], Any], name: str = "acme_test") -> ModuleType:
    """A plugin that implements `hook`, and whatever a plugin with this hook must implement, all by `body`."""
    from vermas.plugins.kinds import NEEDS

    module = ModuleType(name)
    for each in {hook, *NEEDS.get(hook, ()), *(["vermas_session_observe"] if hook.startswith("vermas_session") else [])}:

        def implementation() -> Any:
            return body()

        setattr(module, each, hookspecs.hookimpl(implementation))
    return module


def call(hooks: Hooks, hook: str) -> Any:
    return getattr(hooks, hook.removeprefix("vermas_"))(*CALLS[hook][0])


def raising(error: BaseException) -> Callable[[], Any]:
    def body() -> Any:
        raise error

    return body


# The facade and the specification


def test_every_hook_has_a_method_with_the_arguments_of_its_specification() -> None:
    for hook in KINDS:
        method = getattr(Hooks, hook.removeprefix("vermas_"))
        given = [name for name in inspect.signature(method).parameters if name != "self"]
        expected = [name for name in inspect.signature(getattr(hookspecs, hook)).parameters if name != "rig"]
        assert given == expected, hook


def test_every_hook_is_tried_here_and_has_a_deadline() -> None:
    assert list(CALLS) == list(KINDS) == list(DEADLINES_S)


@pytest.mark.parametrize("hook", CALLS)
def test_a_right_answer_comes_through(rigged: Rigged, hook: str) -> None:
    answer = CALLS[hook][1]
    said = call(rigged.hooks(one=implementing(hook, lambda: answer)), hook)
    if hook in ("vermas_health_check", "vermas_verify"):
        assert said == [dataclasses.replace(answer, plugin="one")]
    elif hook == "vermas_doctor":
        assert said == [("one", answer[0])]
    elif KINDS[hook] == "broadcast" and answer is not None and hook != "vermas_session_discover":
        assert said == [answer]
    else:
        assert said == answer
    assert rigged.reported == []


# One evil plugin per hook and way of failing


def endless() -> Any:
    return endless()


EVIL: dict[str, Callable[[], Any]] = {
    "exception": raising(RuntimeError("boom")),
    "SystemExit": raising(SystemExit(3)),
    "KeyboardInterrupt": raising(KeyboardInterrupt()),
    "GeneratorExit": raising(GeneratorExit()),
    "RecursionError": endless,
    "a wrong type": lambda: 3.5,
    "a value of another type": lambda: types.Section(title="t", body="b"),
}


@pytest.mark.parametrize("how", EVIL)
@pytest.mark.parametrize("hook", BROADCAST)
def test_a_broadcast_outlives_an_evil_plugin(rigged: Rigged, hook: str, how: str) -> None:
    hooks = rigged.hooks(evil=implementing(hook, EVIL[how]), good=implementing(hook, lambda: _signed(CALLS[hook][1], "good")))
    if hook == "vermas_verify":  # the others' pass is none while one verifier is out of order
        with pytest.raises(PluginFailure, match="evil"):
            call(hooks, hook)
    else:
        said = call(hooks, hook)
        assert CALLS[hook][1] is None or hook in ("vermas_doctor", "vermas_prime") or len(said) == 1
    harmless = ("a wrong type", "a value of another type") if CALLS[hook][1] is None else ("a value of another type",)
    if how in harmless and hook in ("vermas_release", "vermas_event", "vermas_prime"):
        return  # nobody looks at what these answer; or it is what is asked for
    (failure,) = rigged.reported
    assert (failure.plugin, failure.hook, failure.kind) == ("evil", hook, "invalid" if how.startswith("a ") else "raised")
    assert "\n" not in str(failure)


def _signed(answer: Any, driver: str) -> Any:
    if isinstance(answer, list) and isinstance(answer[0], types.Session):
        return [dataclasses.replace(answer[0], driver=driver)]
    return answer


@pytest.mark.parametrize("how", EVIL)
@pytest.mark.parametrize("hook", ANSWERED)
def test_an_evil_answer_is_an_attributed_failure(rigged: Rigged, hook: str, how: str) -> None:
    hooks = rigged.hooks(one=implementing(hook, EVIL[how]))
    if how.startswith("a ") and CALLS[hook][1] is None:
        assert call(hooks, hook) is None
        return
    if hook == "vermas_session_observe":
        assert call(hooks, hook)["p1-2"].state == "unknown"
        (failure,) = rigged.reported
    elif hook in FORGIVING:
        assert call(hooks, hook) is None
        (failure,) = rigged.reported
    else:
        with pytest.raises(PluginFailure) as caught:
            call(hooks, hook)
        failure = caught.value.failure
        assert (caught.value.__cause__ is None) is how.startswith("a ")
        assert caught.value.exit_code == 5
    assert (failure.plugin, failure.hook, failure.kind) == ("one", hook, "invalid" if how.startswith("a ") else "raised")
    assert failure.subject in ("", "p1", "p1-2", "app-1", SANDBOX.path)
    assert failure.duration_s >= 0


@pytest.mark.parametrize("hook", [hook for hook in ANSWERED if KINDS[hook] in ("exclusive", "driver") and CALLS[hook][1] is not None])
def test_none_is_no_answer_where_one_is_due(rigged: Rigged, hook: str) -> None:
    hooks = rigged.hooks(one=implementing(hook, lambda: None))
    if hook == "vermas_session_attach":
        assert call(hooks, hook) is None
    elif hook == "vermas_session_observe":
        assert call(hooks, hook)["p1-2"].state == "unknown"
    else:
        with pytest.raises(PluginFailure, match="the answer is None"):
            call(hooks, hook)


@pytest.mark.parametrize("hook", CALLS)
def test_a_hanging_plugin_costs_its_deadline_once(rigged: Rigged, hook: str, gate: threading.Event) -> None:
    rigged.deadlines[hook] = 0.05
    hooks = rigged.hooks(one=implementing(hook, gate.wait))
    arguments = CALLS[hook][0] if hook != "vermas_session_stop" else (SESSION, 0.0)
    for expected in (PluginTimeout, PluginBusy):
        try:
            said = getattr(hooks, hook.removeprefix("vermas_"))(*arguments)
        except PluginFailure as error:
            assert type(error) is expected
        else:
            assert hook in FORGIVING
            if hook == "vermas_session_observe":
                assert "did not return within" in said["p1-2"].why or "overdue" in said["p1-2"].why
    assert len(rigged.reported) == (1 if hook in FORGIVING or hook == "vermas_verify" else 0)


# Isolation


def test_a_plugin_is_asked_again_once_its_overdue_call_has_returned(rigged: Rigged, gate: threading.Event) -> None:
    rigged.deadlines["vermas_land"] = 0.05
    done = threading.Event()

    def land() -> types.Landing:
        gate.wait()
        done.set()
        return types.Landing(kind="landed", sha=SHA)

    hooks = rigged.hooks(one=implementing("vermas_land", land))
    with pytest.raises(PluginTimeout, match="what it did is unknown"):
        hooks.land(CANDIDATE)
    with pytest.raises(PluginBusy):
        hooks.land(CANDIDATE)
    gate.set()
    assert done.wait(5)
    end = time.monotonic() + 5
    while True:
        try:
            assert hooks.land(CANDIDATE).sha == SHA
            return
        except PluginBusy:
            assert time.monotonic() < end


def test_an_overdue_effect_holds_back_its_own_subject_only(rigged: Rigged, gate: threading.Event) -> None:
    rigged.deadlines["vermas_sandbox_snapshot"] = 0.05
    hang = [gate.wait]
    hooks = rigged.hooks(one=implementing("vermas_sandbox_create", lambda: SHA if not hang else hang.pop()()))
    with pytest.raises(PluginTimeout):
        hooks.sandbox_snapshot(SANDBOX)
    with pytest.raises(PluginBusy):
        hooks.sandbox_snapshot(SANDBOX)
    rigged.deadlines["vermas_sandbox_snapshot"] = 5
    assert hooks.sandbox_snapshot(dataclasses.replace(SANDBOX, path="/elsewhere")) == SHA


def test_a_hanging_watcher_holds_nobody_up_twice(rigged: Rigged, gate: threading.Event) -> None:
    rigged.deadlines["vermas_health_check"] = 0.05
    hooks = rigged.hooks(evil=implementing("vermas_health_check", gate.wait), good=implementing("vermas_health_check", lambda: FINDING))
    began = time.monotonic()
    for number in range(50):
        assert len(hooks.health_check(dataclasses.replace(POLECAT, id=f"p{number}"), EVIDENCE, 0.0)) == 1
    assert time.monotonic() - began < 2
    assert [failure.kind for failure in rigged.reported] == ["deadline"]


def test_the_deadline_of_a_stop_grows_with_its_grace(rigged: Rigged) -> None:
    rigged.deadlines["vermas_session_stop"] = 0.0
    hooks = rigged.hooks(one=implementing("vermas_session_start", lambda: time.sleep(0.05)))
    hooks.session_stop(SESSION, 10.0)
    with pytest.raises(PluginTimeout):
        hooks.session_stop(SESSION, 0.0)


def test_context_variables_reach_the_plugin(rigged: Rigged) -> None:
    held: contextvars.ContextVar[str] = contextvars.ContextVar("held", default="")
    hooks = rigged.hooks(one=implementing("vermas_sandbox_create", lambda: held.get() or SHA))
    held.set("b" * 40)
    assert hooks.sandbox_snapshot(SANDBOX) == "b" * 40


def test_many_threads_may_ask_at_once(rigged: Rigged) -> None:
    hooks = rigged.hooks(one=implementing("vermas_gate", lambda: types.Defer(why="w")), two=implementing("vermas_gate", lambda: None))
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.extend(len(hooks.gate(BEAD, [], 0.0)) for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1] * 400


def test_idle_threads_are_used_again_and_few_stay() -> None:
    threads = Threads(keep=2)
    seen = set()
    for _ in range(20):
        task = threads.start(threading.get_ident)
        assert task.wait(5)
        seen.add(task.value)
    assert len(seen) == 1
    barrier = threading.Barrier(6)
    for task in [threads.start(barrier.wait) for _ in range(6)]:
        assert task.wait(5)
    assert len(threads._idle) <= 3


def test_threads_without_work_end_and_none_is_lost() -> None:
    threads = Threads(keep=2, idle_s=0.001)
    for pause_s in (0.0, 0.001, 0.002) * 20:  # around the moment at which the idle thread gives up
        task = threads.start(threading.get_ident)
        assert task.wait(5)
        time.sleep(pause_s)
    end = time.monotonic() + 5
    while threads._idle and time.monotonic() < end:
        time.sleep(0.001)
    assert threads._idle == []


# Attribution


def test_the_failure_says_everything(rigged: Rigged) -> None:
    with pytest.raises(PluginFailure) as caught:
        rigged.hooks(one=implementing("vermas_allocate", raising(ValueError("two\nlines")))).allocate(BEAD, (), 0.0)
    said = "plugin 'one': vermas_allocate for app-1 raised ValueError: two lines; upgrade one, or leave it out: -p no:one"
    assert str(caught.value) == said
    assert "in body" in caught.value.failure.traceback
    assert isinstance(caught.value.__cause__, ValueError)
    assert types.to_json(caught.value.failure)["kind"] == "raised"


def test_distribution_and_version_are_named() -> None:
    failure = Failure(plugin="x", distribution="acme-x", version="1.2", hook="vermas_land", subject="p1", kind="raised", error="raised E")
    assert str(failure) == "plugin 'x' (acme-x 1.2): vermas_land for p1 raised E"


def test_a_wrapper_is_blamed_for_its_own_exception(rigged: Rigged) -> None:
    jail = ModuleType("acme_jail")

    @hookspecs.hookimpl(wrapper=True)
    def vermas_allocate(rig: types.Rig) -> Any:
        yield
        raise OSError("the jail broke")

    jail.vermas_allocate = vermas_allocate  # type: ignore[attr-defined]
    hooks = rigged.hooks(one=implementing("vermas_allocate", lambda: types.Slot(name="a")), jail=jail)
    with pytest.raises(PluginFailure, match=r"plugin 'jail'.*the jail broke"):
        hooks.allocate(BEAD, (), 0.0)


def test_a_wrapper_is_entered_once_per_implementation_and_may_change_the_answer(rigged: Rigged) -> None:
    seen: list[str] = []
    jail = ModuleType("acme_jail")

    @hookspecs.hookimpl(wrapper=True)
    def vermas_gate(bead: types.Bead) -> Any:
        seen.append(bead.id)
        return [dataclasses.replace(answer, why="wrapped") for answer in (yield)]

    jail.vermas_gate = vermas_gate  # type: ignore[attr-defined]
    one, two = (implementing("vermas_gate", lambda: types.Defer(why="plain")) for _ in range(2))
    assert [answer.why for answer in rigged.hooks(one=one, two=two, jail=jail).gate(BEAD, [], 0.0)] == ["wrapped", "wrapped"]
    assert seen == ["app-1", "app-1"]


def test_an_exception_that_cannot_be_printed(rigged: Rigged) -> None:
    class Nasty(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(PluginFailure, match="cannot be printed"):
        rigged.hooks(one=implementing("vermas_allocate", raising(Nasty()))).allocate(BEAD, (), 0.0)


def test_a_huge_message_is_cut(rigged: Rigged) -> None:
    with pytest.raises(PluginFailure) as caught:
        rigged.hooks(one=implementing("vermas_allocate", raising(ValueError("x" * 10**6)))).allocate(BEAD, (), 0.0)
    assert len(str(caught.value)) < 500
    assert len(caught.value.failure.traceback) <= 4000


# Kinds


def test_first_answers_are_taken_in_the_order_of_the_list(rigged: Rigged) -> None:
    asked: list[str] = []

    def says(name: str, answer: Any) -> ModuleType:
        def body() -> Any:
            asked.append(name)
            return answer

        return implementing("vermas_allocate", body)

    none, one, two = says("none", None), says("one", types.Slot(name="one")), says("two", types.Slot(name="two"))
    assert rigged.hooks("none", "two", "one", none=none, one=one, two=two).allocate(BEAD, (), 0.0) == types.Slot(name="two")
    assert asked == ["none", "two"]
    assert rigged.hooks(none=none).allocate(BEAD, (), 0.0) is None


def test_handles_go_to_the_plugin_that_made_them_also_when_the_rig_has_another(rigged: Rigged) -> None:
    def runtime(name: str) -> ModuleType:
        return implementing("vermas_session_start", lambda: {"p1-2": types.Observation(state="alive", why=name)})

    hooks = rigged.hooks("new", drivers=("one",), new=runtime("new"), one=runtime("one"))
    old, new = SESSION, dataclasses.replace(SESSION, driver="new", id="p2-1", polecat_id="p2", session_no=1)
    seen = hooks.session_observe([old, new])
    assert seen["p1-2"].why == "one"
    assert seen["p2-1"].why == "the runtime did not mention it"
    assert hooks.session_attach(old) is None
    with pytest.raises(PluginFailure, match="gave an invalid answer: the Session"):
        rigged.hooks(new=implementing("vermas_session_start", lambda: old)).session_start(
            dataclasses.replace(POLECAT, id="p9"), SANDBOX, LAUNCH
        )


def test_sessions_of_a_driver_that_is_gone_are_unknown_and_say_why(rigged: Rigged) -> None:
    hooks = rigged.hooks("good", drivers=("one",), good=implementing("vermas_gate", lambda: None))
    observation = hooks.session_observe([SESSION])["p1-2"]
    assert observation.state == "unknown"
    assert "no plugin named 'one'" in observation.why
    assert rigged.reported[0].kind == "missing"
    with pytest.raises(PluginFailure, match="pip install vermas-one"):
        hooks.session_stop(SESSION, 1.0)


def test_what_a_runtime_cannot_do_is_unsupported(rigged: Rigged) -> None:
    without = rigged.hooks(one=implementing("vermas_session_observe", dict))
    with pytest.raises(Unsupported, match="runtime 'one' cannot send"):
        without.session_send(SESSION, "hello", "key")
    assert without.session_attach(SESSION) is None
    declines = implementing("vermas_session_send", raising(Unsupported("no terminal")))
    with pytest.raises(Unsupported, match="plugin 'one': no terminal"):
        rigged.hooks(one=declines).session_send(SESSION, "hello", "key")
    assert rigged.hooks(one=implementing("vermas_session_attach", raising(Unsupported()))).session_attach(SESSION) is None
    with pytest.raises(PluginFailure):
        rigged.hooks(one=implementing("vermas_session_read", raising(Unsupported("no")))).session_read(SESSION, 0, 10)


def test_an_exclusive_hook_that_nobody_implements(rigged: Rigged) -> None:
    with pytest.raises(PluginFailure, match="vermas_land for p1 is implemented by no active plugin"):
        rigged.hooks(one=implementing("vermas_gate", lambda: None)).land(CANDIDATE)


def test_the_event_of_a_watchers_failure_is_not_shown_to_that_watcher(rigged: Rigged) -> None:
    hooks = rigged.hooks(evil=implementing("vermas_event", raising(RuntimeError("boom"))))
    hooks.event(EVENT)
    (failure,) = rigged.reported
    hooks.event(dataclasses.replace(EVENT, kind="plugin-failed", data=types.to_json(failure)))
    assert len(rigged.reported) == 1


def test_a_failing_verifier_is_never_a_pass(rigged: Rigged) -> None:
    evil = implementing("vermas_verify", raising(RuntimeError("boom")))
    with pytest.raises(PluginFailure, match="boom"):
        rigged.hooks(evil=evil, good=implementing("vermas_verify", lambda: types.Verdict(kind="pass"))).verify(CANDIDATE)
    red = implementing("vermas_verify", lambda: types.Verdict(kind="fail"))
    assert [verdict.plugin for verdict in rigged.hooks(evil=evil, red=red).verify(CANDIDATE)] == ["red"]


# Answers

WRONG: list[tuple[str, Any, str]] = [
    ("vermas_allocate", types.Slot(name="Slot0"), "does not match"),
    ("vermas_allocate", types.Slot(name="../x"), "does not match"),
    ("vermas_allocate", types.Slot(name="x" * 40), "does not match"),
    ("vermas_allocate", types.Slot(name="slot1"), "'slot1' is taken"),
    ("vermas_allocate", types.Slot(name=3), "Slot.name is 3, not str"),  # type: ignore[arg-type]
    ("vermas_allocate", types.Pending(why="w", retry_after_s=True), "Pending.retry_after_s is True, not float"),
    ("vermas_allocate", "slot0", "the answer is 'slot0', not Slot or Pending or None"),
    ("vermas_sandbox_create", dataclasses.replace(SANDBOX, driver="two"), "Sandbox.driver is 'two', not 'one'"),
    ("vermas_sandbox_create", dataclasses.replace(SANDBOX, branch="main"), "Sandbox.branch is 'main'"),
    ("vermas_sandbox_create", dataclasses.replace(SANDBOX, path="relative"), "is not absolute"),
    ("vermas_sandbox_inspect", types.SandboxState(kind="fine"), "SandboxState.kind is 'fine', not one of clean, dirty"),  # type: ignore[arg-type]
    ("vermas_sandbox_inspect", types.SandboxState(kind="dirty", conflicts=["UU a"]), "SandboxState.conflicts is ['UU a'], not a tuple"),  # type: ignore[arg-type]
    ("vermas_sandbox_snapshot", "HEAD", "'HEAD' is not a full commit name"),
    ("vermas_agent_launch", types.Launch(argv=(1,)), "Launch.argv[0] is 1, not str"),  # type: ignore[arg-type]
    ("vermas_agent_launch", types.Launch(argv=(), env={"A": 1}), "Launch.env['A'] is 1, not str"),  # type: ignore[dict-item]
    ("vermas_agent_launch", types.Launch(argv=(), files=("x",)), "Launch.files[0] is 'x', not LaunchFile"),  # type: ignore[arg-type]
    ("vermas_session_start", dataclasses.replace(SESSION, driver="tmux"), "Session.driver is 'tmux', not 'one'"),
    ("vermas_session_start", dataclasses.replace(SESSION, id="p1"), "Session.id is 'p1', not 'p1-2'"),
    ("vermas_session_start", dataclasses.replace(SESSION, session_no=1, id="p1-1"), "the Session is p1-1, not p1-2"),
    ("vermas_session_start", dataclasses.replace(SESSION, locator={"x": "y" * 5000}), "more than 4096"),
    ("vermas_session_read", types.Output(data=b"x" * 101, cursor=0), "has 101 bytes, more than 100"),
    ("vermas_session_read", types.Output(data="x", cursor=0), "Output.data is 'x', not bytes"),  # type: ignore[arg-type]
    ("vermas_session_attach", "tmux attach", "not list[str] or None"),
    ("vermas_candidate", dataclasses.replace(CANDIDATE, tree=""), "'' is not a full commit name"),
    ("vermas_candidate", dataclasses.replace(CANDIDATE, kind="conflict"), "a conflict without files"),
    ("vermas_land", types.Landing(kind="landed"), "'' is not a full commit name"),
]


@pytest.mark.parametrize(("hook", "answer", "said"), WRONG)
def test_answers_that_look_right_and_are_not(rigged: Rigged, hook: str, answer: Any, said: str) -> None:
    with pytest.raises(PluginFailure) as caught:
        call(rigged.hooks(one=implementing(hook, lambda: answer)), hook)
    assert said in str(caught.value)
    assert caught.value.failure.kind == "invalid"


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {"p1-2": "alive"},
        {"p1-2": types.Observation(state="dead")},  # type: ignore[arg-type]
        {1: OBSERVATION},
        {"p1-2": types.Observation(state="exited", exit_code=1, signal=9)},
        {},
    ],
)
def test_a_garbled_observation_is_unknown(rigged: Rigged, answer: Any) -> None:
    observation = rigged.hooks(one=implementing("vermas_session_observe", lambda: answer)).session_observe([SESSION])["p1-2"]
    assert observation.state == "unknown"
    assert observation.why


def test_a_discovered_session_of_another_driver_is_left_out(rigged: Rigged) -> None:
    two = dataclasses.replace(SESSION, driver="two")
    hooks = rigged.hooks(one=implementing("vermas_session_discover", lambda: [two, SESSION]))
    assert hooks.session_discover() == [SESSION]
    assert "Session.driver is 'two'" in rigged.reported[0].error


@pytest.mark.parametrize("hook", CALLS)
def test_the_promise_of_every_hook_can_be_checked(hook: str) -> None:
    assert promised(hook)(CALLS[hook][1], "the answer") == ""


def test_an_answer_that_cannot_be_printed_is_still_named() -> None:
    class Nasty:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert promised("vermas_land")(Nasty(), "the answer") == "the answer is a Nasty, not Landing"
