"""Plugins that are missing, broken or evil in whole runs: each is named with what to do, and everything else goes on.

Evil plugins are real distributions: metadata and a module in a directory on `sys.path` and `PYTHONPATH`.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from vermas.calls import DEADLINES_S
from vermas.lifecycle import advance, landing
from vermas.testing.town import git

from .conftest import Desk, Fleet

Log = Callable[[Path], list[str]]
USUAL = ["slots", "worktree", "process", "script", "watchdog", "refinery"]

HEADER = "from vermas.hookspecs import hookimpl\n"


class Install(Protocol):
    """`(name, source, version="2.5", distribution="acme-NAME", requires="")` installs a plugin."""

    def __call__(self, name: str, source: str, *, version: str = ..., distribution: str = ..., requires: str = ...) -> None: ...


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fleet: Fleet) -> Iterator[Install]:
    """Plugins for this process and for those that the fleet starts."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    fleet.env["PYTHONPATH"] = str(site)

    def put(name: str, source: str, *, version: str = "2.5", distribution: str = "", requires: str = "") -> None:
        distribution = distribution or f"acme-{name}"
        (site / f"acme_{name}.py").write_text(HEADER + source)
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: vermas{requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}")
        (info / "entry_points.txt").write_text(f"[vermas]\n{name} = acme_{name}\n")

    yield put
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


#: Fails for the bead whose title is the name of a hook, in that hook: by what stands for BEFORE and AFTER.
WRAPS = "".join(
    f"@hookimpl(wrapper=True)\ndef {hook}({argument}):\n    meant = {argument}{title} == '{hook}'\n"
    "    if meant:\n        BEFORE\n    answer = yield\n    if meant:\n        AFTER\n    return answer\n"
    for hook, argument, title in (
        ("vermas_allocate", "bead", ".title"),
        ("vermas_sandbox_create", "polecat", ".bead.title"),
        ("vermas_agent_launch", "polecat", ".bead.title"),
        ("vermas_session_start", "polecat", ".bead.title"),
        ("vermas_candidate", "submission", ".bead_title"),
        ("vermas_verify", "candidate", ".submission.bead_title"),
        ("vermas_land", "candidate", ".submission.bead_title"),
    )
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr(advance, "_RETRY_S", 0.01)
    monkeypatch.setattr(landing, "_RETRY_S", 0.01)


def use(desk: Fleet, *names: str, rig: str = "app") -> None:
    """Ask these plugins before the usual ones."""
    desk.vermas("config", "set", f"rigs.{rig}.plugins", json.dumps([*names, *USUAL]))


def failures(desk: Fleet) -> dict[str, dict[str, Any]]:
    """The data of the newest `plugin-failed` event of each hook."""
    found = [json.loads(text) for (text,) in desk.query("SELECT data FROM events WHERE kind = 'plugin-failed' ORDER BY seq")]
    return {data["hook"]: data for data in found}


#: What is wrong with a rig: its plugins and options, and what the one line must say.
WRONG: dict[str, tuple[list[str], str, tuple[str, ...]]] = {
    "missing": ([*USUAL, "kubernetes"], "", ("'kubernetes'", "pip install vermas-kubernetes")),
    "misspelt": ([*USUAL, "slotz"], "", ("'slotz'", "did you mean 'slots'")),
    "unimportable": ([*USUAL, "broken"], "", ("'broken'", "acme-broken 2.5", "ModuleNotFoundError", "no_such_module_anywhere")),
    "exits": ([*USUAL, "exits"], "", ("'exits'", "acme-exits 2.5", "SystemExit")),
    "incompatible": ([*USUAL, "future"], "", ("'future'", "acme-future 2.5", ">=9", "pip install --upgrade acme-future")),
    "twofold": ([*USUAL, "twofold"], "", ("'twofold'", "acme-one 2.5", "acme-two 2.5", "pip uninstall")),
    "two-runtimes": ([*USUAL, "tmux"], "", ("'process' (vermas-process", "'tmux' (vermas-tmux", "vermas_session_start", "-p no:tmux")),
    "no-sandbox": ([name for name in USUAL if name != "worktree"], "", ("vermas_sandbox_create", "worktree or clone")),
    "typo-in-hook": ([*USUAL, "typo"], "", ("'typo'", "acme-typo 2.5", "vermas_alocate")),
    "wrong-signature": ([*USUAL, "greedy"], "", ("'greedy'", "acme-greedy 2.5", "vermas_gate", "colour")),
    "unknown-option": (USUAL, "options.slots.cuont = 3", ("'slots'", "cuont", "did you mean 'count'")),
    "option-of-wrong-type": (USUAL, 'options.slots.count = "many"', ("'slots'", "count", "'many'")),
    "options-of-nobody": (USUAL, "options.slotz.count = 3", ("'slotz'", "not installed")),
}


def test_rigs_that_cannot_be_loaded_say_why_and_the_others_run(desk: Desk, fleet: Fleet, install: Install, log: Log) -> None:
    install("broken", "import no_such_module_anywhere")
    install("exits", "raise SystemExit('bye')")
    install("future", "raise RuntimeError('imported before its range was looked at')", requires=">=9")
    install("twofold", "", distribution="acme-one")
    install("twofold", "", distribution="acme-two")
    install("typo", "@hookimpl\ndef vermas_alocate(rig): ...\n")
    install("greedy", "@hookimpl\ndef vermas_gate(rig, colour): ...\n")
    origin = desk.rig("good")
    desk.bead("Lands", rig="good")
    tables = [
        f'[rigs.{rig}]\norigin = "/nowhere"\nprefix = "{rig}"\nagent = "script"\nplugins = {json.dumps(names)}\n{options}\n'
        for rig, (names, options, _) in WRONG.items()
    ]
    Path(fleet.town.config_file).write_text("\n".join(tables))
    done = fleet.vermas("run", expect=9)
    lines = {line.split(": ")[1].removeprefix("rig "): line for line in done.stderr.splitlines()}
    for rig, (_, _, said) in WRONG.items():
        assert all(words in lines[rig] for words in said), lines[rig]
        assert lines[rig].endswith("; the other rigs go on")
    assert set(lines) == {*WRONG, "not every rig could be run"}
    assert "Traceback" not in done.stderr and log(origin)[1:] == ["first"]


RAISES = "".join(
    f"@hookimpl\ndef {hook}():\n    raise {error}\n"
    for hook, error in {
        "vermas_gate": "RuntimeError('boom\\nand more')",
        "vermas_release": "SystemExit(3)",
        "vermas_agent_classify": "KeyboardInterrupt()",
        "vermas_agent_usage": "ZeroDivisionError()",
        "vermas_session_discover": "OSError(28, 'No space left on device')",
        "vermas_health_check": "RecursionError()",
        "vermas_escalate": "KeyError('x')",
        "vermas_notify": "GeneratorExit()",
        "vermas_prime": "UnicodeDecodeError('utf-8', b'', 0, 1, 'bad')",
        "vermas_event": "BaseException('base')",
        "vermas_doctor": "AssertionError()",
    }.items()
)
ASKED = {hook for hook in re.findall(r"vermas_\w+(?=\(\))", RAISES) if hook != "vermas_doctor"}


@pytest.mark.parametrize(("kind", "source"), [("raised", RAISES), ("invalid", re.sub(r"raise .*", "return 3.5", RAISES))])
def test_a_plugin_that_fails_wherever_it_may_stops_nothing(desk: Desk, install: Install, log: Log, kind: str, source: str) -> None:
    install("evil", source)
    origin = desk.rig()
    use(desk, "evil")
    lands = desk.bead("Lands", "crash-once", "write a.txt x", "commit lands", "done")
    stops = desk.bead("Stops", "vermas done --exit escalated -m help")
    desk.vermas("run", expect=9)
    assert log(origin) == ["lands", "first"] and desk.status_of(lands) == "closed"
    assert desk.kinds(stops).count("incident-opened") == 1
    found = failures(desk)
    answerless = {"vermas_release", "vermas_event"} if kind == "invalid" else set()
    assert set(found) == ASKED - answerless
    for data in found.values():
        assert (data["plugin"], data["distribution"], data["version"], data["failure"]) == ("evil", "acme-evil", "2.5", kind)
        assert "acme-evil" in data["fix"] and "-p no:evil" in data["fix"]
    shown = [line for line in desk.vermas("log", "-n", "500").stdout.splitlines() if "acme-evil 2.5" in line]
    assert len(shown) >= len(found) and all("-p no:evil" in line for line in shown)
    checks = json.loads(desk.vermas("doctor", "--json", expect=1).stdout)
    check = next(check for check in checks if check["name"] == "app: evil")
    assert check["status"] == "error" and "acme-evil 2.5" in check["message"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("raise RuntimeError('boom')", "pass", "'evil' (acme-evil 2.5)"),
        ("pass", "raise RuntimeError('boom')", "'evil' (acme-evil 2.5)"),
        ("pass", "return 3.5", "gave an invalid answer"),
    ],
    ids=["raises before", "raises after", "lies"],
)
def test_what_fails_on_one_bead_is_given_to_a_human_and_the_others_land(
    desk: Desk, install: Install, impatient: None, log: Log, before: str, after: str, said: str
) -> None:
    install("evil", WRAPS.replace("BEFORE", before).replace("AFTER", after))
    origin = desk.rig()
    use(desk, "evil")
    desk.vermas("config", "set", "rigs.app.options.watchdog.backoff_base_s", "0.01")
    desk.vermas("config", "set", "rigs.app.max_polecats", "9")
    bad = {hook: desk.bead(hook) for hook in re.findall(r"vermas_\w+(?=\()", WRAPS)}
    good = desk.bead("good")
    lines = desk.vermas("run", "--json", expect=9).stdout.splitlines()
    outcomes = {one["bead_id"]: one for one in json.loads(lines[-1])["outcomes"]}
    assert outcomes.pop(good)["state"] == "landed"
    if "raise" not in before:  # it did start, whatever its runtime says of it
        assert outcomes.pop(bad.pop("vermas_session_start"))["state"] == "landed"
    for hook, bead in bad.items():
        fate = outcomes.pop(bead)
        assert fate["state"] == ("waiting" if hook == "vermas_allocate" else "stopped")
        assert hook in fate["why"] and said in fate["why"] and "-p no:" in fate["why"], fate
    assert log(origin)[-1] == "first" and not outcomes
    assert [polecat["state"] for polecat in desk.json("polecat", "list")] == ["stopped"] * (len(bad) - 1)
    incidents = desk.json("status")["incidents"]
    assert sorted(incident["bead_id"] for incident in incidents) == sorted(bead for hook, bead in bad.items() if hook != "vermas_allocate")


@pytest.fixture
def slow(desk: Desk, install: Install, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, dict[str, float]], None]]:
    """`slow(source, deadlines_s)` installs a plugin `slow` in whose source GATE.wait() hangs until the end of the test."""

    def make(source: str, deadlines_s: dict[str, float]) -> None:
        install("slow", "import threading\nGATE = threading.Event()\n" + source)
        for hook, deadline_s in deadlines_s.items():
            monkeypatch.setitem(DEADLINES_S, hook, deadline_s)

    yield make
    gate: threading.Event = sys.modules["acme_slow"].GATE
    gate.set()


def test_a_plugin_that_hangs_wherever_it_may_stops_nothing(desk: Desk, slow: Callable[[str, dict[str, float]], None], log: Log) -> None:
    slow(re.sub(r"raise .*", "GATE.wait()", RAISES), dict.fromkeys(ASKED, 0.4))
    origin = desk.rig()
    use(desk, "slow")
    lands = desk.bead("Lands", "crash-once", "write a.txt x", "commit lands", "done")
    stops = desk.bead("Stops", "vermas done --exit escalated -m help")
    desk.vermas("run", expect=9)
    assert log(origin) == ["lands", "first"] and desk.status_of(lands) == "closed"
    assert desk.kinds(stops).count("incident-opened") == 1
    found = failures(desk)
    assert set(found) == ASKED
    for data in found.values():
        assert (data["plugin"], data["distribution"], data["version"], data["failure"]) == ("slow", "acme-slow", "2.5", "deadline")
        assert "0.4 s" in data["error"] and "-p no:slow" in data["fix"]


def test_what_hangs_on_one_bead_is_given_to_a_human_and_the_others_land(
    desk: Desk, slow: Callable[[str, dict[str, float]], None], impatient: None
) -> None:
    deadlines_s = {
        "vermas_sandbox_create": 2.5,
        "vermas_session_start": 2.5,
        "vermas_candidate": 1.0,
        "vermas_verify": 1.0,
        "vermas_land": 1.0,
    }
    slow(WRAPS.replace("BEFORE", "GATE.wait()").replace("AFTER", "pass"), deadlines_s)
    desk.rig()
    use(desk, "slow")
    desk.vermas("config", "set", "rigs.app.max_polecats", "9")
    bad = {hook: desk.bead(hook) for hook in deadlines_s}
    good = desk.bead("good")
    lines = desk.vermas("run", "--json", expect=9).stdout.splitlines()
    outcomes = {one["bead_id"]: one for one in json.loads(lines[-1])["outcomes"]}
    assert outcomes.pop(good)["state"] == "landed"
    for hook, bead in bad.items():
        assert outcomes[bead]["state"] == "stopped" and hook in outcomes[bead]["why"], outcomes[bead]
    events = [line for line in map(json.loads, lines[:-1]) if "did not return within" in str(line["data"])]
    assert {hook for hook in deadlines_s if any(hook in str(event["data"]) for event in events)} == set(deadlines_s)


def test_a_hanging_allocator_lets_the_run_end(desk: Desk, slow: Callable[[str, dict[str, float]], None]) -> None:
    slow("@hookimpl\ndef vermas_allocate():\n    GATE.wait()\n", {"vermas_allocate": 0.3})
    desk.rig()
    use(desk, "slow")
    bead = desk.bead("Waits")
    done = desk.vermas("run", expect=9)
    assert "plugin 'slow' (acme-slow 2.5): vermas_allocate" in done.stdout and "did not return within 0.3 s" in done.stdout
    assert desk.status_of(bead) == "open"


DRIVING = "".join(
    f"@hookimpl(wrapper=True)\ndef vermas_{hook}():\n    yield\n    raise RuntimeError('boom')\n"
    for hook in ("session_observe", "session_read", "session_stop", "sandbox_snapshot", "sandbox_inspect")
)


def test_drivers_that_fail_lose_nothing_and_the_work_lands(desk: Desk, install: Install, impatient: None, log: Log) -> None:
    install("evil", DRIVING)
    origin = desk.rig()
    use(desk, "evil")
    bead = desk.bead("Stays", "crash-once", "write a.txt x", "commit stays", "vermas done", "write later.txt x", "wait-for /nonexistent")
    run = desk.vermas("run")
    assert log(origin) == ["stays", "first"] and desk.status_of(bead) == "closed" and "landed" in run.stdout
    (polecat,) = desk.json("polecat", "list")
    assert polecat["state"] == "removing"
    assert Path(desk.town.checkout("app", polecat["slot"]), "later.txt").read_text() == "x\n", "not saved, so not removed"
    (incident,) = desk.json("status")["incidents"]
    assert "vermas_sandbox_snapshot" in incident["body"] and "acme-evil 2.5" in incident["body"]
    assert "acme-evil 2.5" in desk.json("polecat", "show", "p1")["sandbox"]
    unread = desk.vermas("polecat", "read", "p1", expect=5)
    assert unread.stderr.count("\n") == 1 and "acme-evil 2.5" in unread.stderr
    desk.vermas("run", "-p", "no:evil")
    assert desk.json("polecat", "list") == []
    rescued = desk.query("SELECT rescued FROM polecats")[0][0]
    assert git(desk.town.vault("app"), "show", f"{rescued}:later.txt") == "x"
