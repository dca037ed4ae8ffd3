"""The session contract finds what is wrong with a runtime, and lets a small honest one pass."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

#: A runtime without terminal, messages and back end; the log and the records are the supervisor's files.
HONEST = """
import subprocess, time
from pathlib import Path
from vermas import processes
from vermas.errors import Unsupported
from vermas.hookspecs import hookimpl
from vermas.types import Observation, Output, Session

def home(rig, session):
    return Path(rig.path, "polecats", session.locator["slot"], "." + session.polecat_id)

@hookimpl
def vermas_session_start(rig, polecat, sandbox, launch):
    number = polecat.session_no
    locator = {"slot": polecat.slot.name}
    session = Session(driver="tiny", id=f"{polecat.id}-{number}", polecat_id=polecat.id, session_no=number, locator=locator)
    with open(Path(polecat.home, f"out-{number}"), "ab") as log:
        # The supervisor refuses a second start; its refusal is not output.
        if not log.tell():
            subprocess.Popen(launch.argv, cwd=sandbox.path, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    # A session without a record is over: do not answer before there is one.
    while not any(Path(polecat.home, f"{name}-{number}.json").exists() for name in ("shim", "exit")):
        time.sleep(0.002)
    return session

@hookimpl
def vermas_session_observe(rig, sessions):
    return {session.id: look(home(rig, session), session) for session in sessions}

def look(home, session):
    ended = processes.read_exit(home / f"exit-{session.session_no}.json")
    if ended:
        return Observation(state="exited", exit_code=ended.code, signal=ended.signal)
    record = processes.read_record(home / f"shim-{session.session_no}.json")
    return Observation(state="alive" if record and processes.open_pidfd(record) else "gone")

@hookimpl
def vermas_session_read(rig, session, cursor, limit_bytes):
    log = home(rig, session) / f"out-{session.session_no}"
    over = look(home(rig, session), session).state != "alive"
    data = log.read_bytes() if log.exists() else b""
    start = max(len(data) + cursor, 0) if cursor < 0 else cursor
    piece = data[start:start + limit_bytes]
    return Output(data=piece, cursor=start + len(piece), eof=over and start + len(piece) >= len(data))

@hookimpl
def vermas_session_send(rig, session, text, key):
    raise Unsupported("no input")

@hookimpl
def vermas_session_stop(rig, session, grace_s):
    record = processes.read_record(home(rig, session) / f"shim-{session.session_no}.json")
    if record:
        processes.terminate(record, grace_s)
        processes.sweep(f"{rig.town_id}/{session.polecat_id}/{session.session_no}", 0.0)

@hookimpl
def vermas_session_discover(rig):
    found = []
    for path in Path(rig.path).glob("polecats/*/.p*/shim-*.json"):
        polecat_id, number = path.parent.name[1:], int(path.stem[5:])
        session = Session(
            driver="tiny", id=f"{polecat_id}-{number}", polecat_id=polecat_id, session_no=number, locator={"slot": path.parent.parent.name}
        )
        if look(path.parent, session).state == "alive":
            found.append(session)
    return found
"""

DECLARED = """
    plugin = "tiny"
    has_terminal = False
    supports_send = False
    has_back_end = False
    deadline_s = 2.0
"""


@pytest.fixture
def install(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with the entry point `tiny`, by hand."""
    info = pytester.mkdir("tiny-1.0.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vermas]\ntiny = tiny\n")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))


def run(pytester: pytest.Pytester, source: str, cases: str, declared: str = DECLARED) -> pytest.RunResult:
    Path(pytester.path, "tiny.py").write_text(source)
    body = f"from vermas.testing.session_contract import SessionContract\n\nclass TestTiny(SessionContract):{declared}"
    Path(pytester.path, "test_tiny.py").write_text(textwrap.dedent(body))
    return pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", cases)


@pytest.mark.usefixtures("install")
def test_an_honest_runtime_passes(pytester: pytest.Pytester) -> None:
    cases = (
        "exit_codes or whole_tree or ten_megabytes or two_towns or killed_orchestrator or unsupported or idempotent or fifty or terminal"
    )
    outcomes = run(pytester, HONEST, cases, DECLARED.replace("2.0", "20.0")).parseoutcomes()
    assert outcomes.get("failed", 0) == outcomes.get("errors", 0) == 0
    assert outcomes["passed"] >= 12


@pytest.mark.parametrize(
    ("right", "wrong", "case"),
    [
        ("exit_code=ended.code", "exit_code=0", "test_exit_codes[7]"),
        ('else "gone"', 'else "alive"', "test_survivors_of_a_killed_supervisor"),
        ("        processes.terminate(record, grace_s)\n", "", "test_stop_ends_the_session"),
        ("processes.terminate(record, grace_s)", "processes.terminate(record, 0)", "test_stop_lets_the_agent_finish"),
        ("            found.append(session)", "            pass", "test_discover_lists_exactly_the_live_ones"),
        ('.state == "alive"', '.state != "never"', "test_discover_lists_exactly_the_live_ones"),
        ('    raise Unsupported("no input")', "    return None", "test_unsupported_is_said"),
        ("start + limit_bytes", "start + limit_bytes + 1", "test_cursors_only_go_on"),
        ("cursor=start + len(piece)", "cursor=0", "test_cursors_only_go_on"),
        ("max(len(data) + cursor, 0)", "0", "test_a_negative_cursor_counts_from_the_end"),
        ("eof=over and", "eof=", "test_output_of_a_live_session"),
        ('"slot": polecat.slot.name}', '"slot": polecat.slot.name, "pad": "x" * 4096}', "test_the_handle_is_durable"),
    ],
)
@pytest.mark.usefixtures("install")
def test_a_wrong_runtime_fails(pytester: pytest.Pytester, right: str, wrong: str, case: str) -> None:
    assert right in HONEST
    outcomes = run(pytester, HONEST.replace(right, wrong), case.partition("[")[0]).parseoutcomes()
    assert outcomes.get("failed", 0) >= 1


@pytest.mark.usefixtures("install")
def test_an_undeclared_inability_fails(pytester: pytest.Pytester) -> None:
    result = run(pytester, HONEST, "terminal_is_offered or back_end", '\n    plugin = "tiny"\n')
    assert result.parseoutcomes()["failed"] == 3
