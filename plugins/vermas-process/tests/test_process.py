"""What this runtime promises beyond the contract: its host, its log, its messages, its attach client."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import vermas_process
from vermas_process import Options, host, looking, output

from vermas import processes
from vermas.errors import PluginError
from vermas.testing.plugin import LaunchFactory, PolecatFactory, RigFactory
from vermas.testing.session_bench import Bench, Running
from vermas.types import Launch, to_json

LISTENER = "stty raw -echo; : > ready; exec cat > got"
SLEEPER = ": > ready; exec sleep 60"


@pytest.fixture
def bench(tmp_path: Path, vermas_rig: RigFactory, vermas_polecat: PolecatFactory, vermas_launch: LaunchFactory) -> Bench:
    return Bench(
        "process", {"process": Options(log_bytes=40_000, rows=33, columns=99)}, tmp_path, vermas_rig, vermas_polecat, vermas_launch
    )


def record_of(running: Running) -> looking.HostRecord:
    """The record of a session that was started."""
    record = looking.find(running.rig, running.session)
    assert record is not None and record.host is not None and record.supervisor is not None
    return record


def host_pid(running: Running) -> int:
    """The host's process id."""
    host_record = record_of(running).host
    assert host_record is not None
    return host_record.pid


# options


@pytest.mark.parametrize("wrong", [{"log_bytes": 0}, {"rows": 1}, {"columns": 100_000}])
def test_options_have_ranges(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options(**wrong)


def test_terminal_has_the_size_of_the_options(bench: Bench) -> None:
    running = bench.start("stty size > size")
    bench.ended(running)
    assert running.file("size").read_text() == "33 99\n"


# the host


def test_the_host_is_light_and_free_of_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_TOKEN", "hunter2")
    running = bench.start_ready(SLEEPER)
    pid = host_pid(running)
    for path in (f"/proc/{pid}/environ", f"/proc/{pid}/cmdline"):
        assert b"hunter2" not in Path(path).read_bytes()
    assert b"VERMAS_SESSION" not in Path(f"/proc/{pid}/environ").read_bytes(), "a sweep of the tag would take it for a leftover"
    modules = subprocess.run(
        [*_python_options(pid), "-c", f"import sys; sys.argv = ['x']; exec({_imports_of_host()!r}); print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not set(modules) & {"os", "json", "re", "enum", "signal", "subprocess", "socket", "typing", "struct", "vermas"}


def _python_options(pid: int) -> list[str]:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert words[1:3] == ["-I", "-S"]
    return words[:3]


def _imports_of_host() -> str:
    return Path(host.__file__).read_text().replace("main(sys.argv[1:])", "pass")


def test_the_host_leaves_its_starter(bench: Bench) -> None:
    running = bench.start_ready(SLEEPER)
    pid = host_pid(running)
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    assert int(stat[1]) != os.getpid(), "not our child: nobody here has to reap it"
    assert int(stat[3]) == pid != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    kinds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [kind for kind in kinds if str(bench.tmp_path) in kind and str(running.polecat.home) not in kind]


def test_files_are_private(bench: Bench) -> None:
    before = os.umask(0o000)
    try:
        running = bench.start_ready("echo out; touch public; : > ready; exec sleep 60")
    finally:
        os.umask(before)
    bench.read_until(running, lambda data: b"out" in data)
    places = [*Path(running.polecat.home).glob("*-p*"), *looking.run_folder(bench.rig).iterdir()]
    assert len(places) >= 4
    assert [path for path in places if path.stat().st_mode & 0o077] == []
    assert running.file("public").stat().st_mode & 0o777 == 0o666, "the agent keeps the umask it would have had"


def test_nothing_but_log_and_records_remains(bench: Bench) -> None:
    running = bench.start_ready("echo out; : > ready; exec sleep 60")
    bench.stop(running)
    assert list(looking.run_folder(bench.rig).iterdir()) == []
    names = {path.name for path in Path(running.polecat.home).iterdir()}
    assert {f"host-{running.session.id}.json", f"ended-{running.session.id}.json", f"log-{running.session.id}.0"} <= names
    assert not [name for name in names if name.endswith((".err", ".tmp"))]


def test_a_killed_host_ends_the_session_with_a_true_record(bench: Bench) -> None:
    running = bench.start_ready("trap 'exit 4' HUP TERM; : > ready; while :; do sleep 0.02; done")
    os.kill(host_pid(running), signal.SIGKILL)
    record = bench.ended(running)
    assert (record.code, record.stopped_by) == (4, "HUP")
    assert bench.observe(running).exit_code == 4
    bench.assert_nothing_left(running)


def test_while_the_supervisor_of_a_killed_host_still_ends_the_tree_the_session_is_alive(bench: Bench) -> None:
    running = bench.start_ready("trap '' HUP TERM; : > ready; until [ -e go ]; do sleep 0.02; done; exit 6")
    os.kill(host_pid(running), signal.SIGKILL)
    seen = bench.wait(lambda: (seen := bench.observe(running)).why and seen, "the death of the host is seen")
    assert (seen.state, seen.why) == ("alive", "its host was killed; the supervisor is ending it")
    assert bench.discover() == [running.session]
    running.file("go").touch()
    assert bench.ended(running).code == 6


def test_host_and_supervisor_killed_is_gone(bench: Bench) -> None:
    running = bench.start_ready("trap '' HUP TERM; : > ready; while :; do sleep 0.02; done")
    supervisor = bench.supervisor(running).pid
    os.kill(host_pid(running), signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    bench.wait(lambda: bench.observe(running).state == "gone", "it is gone")
    assert bench.processes_of(running), "the agent ignores hangups"
    bench.stop(running, grace_s=0.1)
    bench.assert_nothing_left(running)


def test_a_host_that_hangs_can_be_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vermas_process.stopping.HOST_FINISH_S", 0.2)
    running = bench.start_ready(SLEEPER)
    os.kill(host_pid(running), signal.SIGSTOP)
    bench.stop(running)
    bench.assert_nothing_left(running)
    assert bench.ended(running).stopped_by == "TERM"
    assert list(looking.run_folder(bench.rig).iterdir()) == []


def test_terminating_the_host_ends_the_session_politely(bench: Bench) -> None:
    running = bench.start_ready("trap 'exit 5' TERM; : > ready; while :; do sleep 0.02; done")
    os.kill(host_pid(running), signal.SIGTERM)
    assert bench.ended(running).code == 5


def test_an_agent_that_removes_its_home_is_still_seen_and_stopped(bench: Bench) -> None:
    polecat = bench.polecat()
    running = bench.start_ready(f"rm -rf '{polecat.home}'; : > ready; exec sleep 60", polecat)
    assert bench.alive(running)
    assert bench.discover() == [running.session]
    bench.stop(running)
    assert bench.processes_of(running) == [] and bench.discover() == []
    assert bench.observe(running).state == "gone"


def test_an_emptied_run_directory_loses_the_socket_only(bench: Bench) -> None:
    running = bench.start_ready(SLEEPER)
    for path in looking.run_folder(bench.rig).iterdir():
        path.unlink()
    assert bench.alive(running)
    assert bench.discover() == [running.session]
    receipt = bench.send(running, "hello")
    assert receipt.state == "rejected" and "does not listen" in receipt.why
    bench.stop(running)
    bench.assert_nothing_left(running)


def test_records_that_cannot_be_read_are_unknown(bench: Bench) -> None:
    running = bench.start_ready(SLEEPER)
    path = looking.record_path(Path(running.polecat.home), running.session.id)
    path.rename(path.with_suffix(".aside"))
    path.mkdir()
    assert bench.observe(running).state == "unknown"
    path.rmdir()
    path.with_suffix(".aside").rename(path)
    assert bench.alive(running)


def test_a_stop_before_the_start_forbids_it(bench: Bench) -> None:
    arguments = bench.prepare("touch ran")
    polecat = arguments["polecat"]
    session = looking.make_session(polecat.id, 1, polecat.home)
    bench.hooks.vermas_session_stop(rig=bench.rig, session=session, grace_s=1.0)
    assert bench.hooks.vermas_session_observe(rig=bench.rig, sessions=[session])[session.id].state == "gone"
    with pytest.raises(PluginError, match="stopped before it started"):
        bench.hooks.vermas_session_start(**arguments)
    assert bench.discover() == []
    assert bench.start(SLEEPER, replace(polecat, session_no=2)).session.id == f"{polecat.id}-2"


@pytest.mark.parametrize("what", ["home", "run", "long"])
def test_a_start_that_fails_says_why_and_may_be_tried_again(bench: Bench, what: str) -> None:
    arguments = bench.prepare(SLEEPER)
    rig, polecat = arguments["rig"], arguments["polecat"]
    broken = {
        "home": {"polecat": replace(polecat, home=str(bench.tmp_path / "nowhere"))},
        "run": {"rig": replace(rig, run_dir=str(bench.tmp_path / "nowhere"))},
        "long": {"rig": replace(rig, run_dir=str(bench.tmp_path / ("x" * 100)))},
    }[what]
    (bench.tmp_path / ("x" * 100)).mkdir()
    with pytest.raises((PluginError, FileNotFoundError), match=r"nowhere|No such file|too long"):
        bench.hooks.vermas_session_start(**{**arguments, **broken})
    assert bench.hooks.vermas_session_start(**arguments).id == f"{polecat.id}-1"


def test_a_working_directory_that_is_missing_is_an_error_and_an_end(bench: Bench) -> None:
    arguments = bench.prepare(SLEEPER)
    sandbox = replace(arguments["sandbox"], path="/no/such/place")
    with pytest.raises(PluginError, match="/no/such/place"):
        bench.hooks.vermas_session_start(**{**arguments, "sandbox": sandbox})
    session = looking.make_session(arguments["polecat"].id, 1, arguments["polecat"].home)
    bench.wait(lambda: looking.observe(bench.rig, session).state == "exited", "the end is recorded")
    assert looking.observe(bench.rig, session).exit_code == 127


# the log


def test_a_read_crosses_segments_and_skips_what_a_full_disk_lost(tmp_path: Path) -> None:
    (tmp_path / "log-p1-1.0").write_bytes(b"0123")
    (tmp_path / "log-p1-1.4").write_bytes(b"4567")
    (tmp_path / "log-p1-1.20").write_bytes(b"abcd")
    (tmp_path / "log-p1-12.0").write_bytes(b"another")
    first = output.read(tmp_path, "p1-1", 2, 100, over=False)
    assert (first.data, first.cursor, first.gap, first.eof) == (b"234567", 8, False, False)
    second = output.read(tmp_path, "p1-1", 8, 3, over=True)
    assert (second.data, second.cursor, second.gap, second.eof) == (b"abc", 23, True, False)
    last = output.read(tmp_path, "p1-1", 23, 3, over=True)
    assert (last.data, last.cursor, last.gap, last.eof) == (b"d", 24, False, True)
    assert output.total(tmp_path, "p1-1") == 24


def test_a_flood_stays_within_its_cap(bench: Bench) -> None:
    running = bench.start("yes 0123456789 | head -c 2000000; : > ready; exec sleep 60")
    most = 0
    while not running.file("ready").exists():
        most = max(most, sum(_size(path) for path in Path(running.polecat.home).glob("log-*")))
    assert 0 < most <= 40_000 * 1.5
    rss = next(line for line in Path(f"/proc/{host_pid(running)}/status").read_text().splitlines() if line.startswith("VmRSS"))
    assert int(rss.split()[1]) < 20_000


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_disk_that_is_full_loses_output_and_not_the_session(tmp_path: Path) -> None:
    log = host.Log(str(tmp_path / "log-p1-1"), 400)
    log.write(b"a" * 50)
    (tmp_path / "log-p1-1.100").mkdir()  # the next segment cannot be made
    log.write(b"b" * 70)
    log.write(b"c" * 10)
    assert log.end == 130
    (tmp_path / "log-p1-1.100").rmdir()
    assert output.read(tmp_path, "p1-1", 0, 100, over=False).data == b"a" * 50 + b"b" * 50
    after = output.read(tmp_path, "p1-1", 100, 1000, over=False)
    assert (after.data, after.gap, after.cursor) == (b"c" * 10, True, 130)
    log.close()


def test_last_words_of_a_program_without_supervisor_are_kept(bench: Bench) -> None:
    arguments = bench.prepare("")
    launch = Launch(argv=(sys.executable, "-c", "print('x' * 30000, end='words', flush=True)"))
    running = Running(**{**arguments, "launch": launch}, session=bench.hooks.vermas_session_start(**{**arguments, "launch": launch}))
    bench.wait(lambda: not bench.alive(running), "it has ended")
    assert bench.observe(running).exit_code == 0
    assert b"".join(piece.data for piece in bench.read_to_end(running)) == b"x" * 30000 + b"words"


# messages


def test_a_line_that_the_terminal_would_cut_is_rejected(bench: Bench) -> None:
    running = bench.start_ready("stty -echo; : > ready; exec cat > got")
    receipt = bench.send(running, "x" * 5000, "k1")
    assert receipt.state == "rejected" and "4095" in receipt.why
    assert bench.send(running, "one\ntwo", "k2").state == "delivered"
    bench.wait(lambda: running.file("got").read_bytes() == b"one\ntwo\n", "the other message arrived")


def test_an_agent_that_does_not_read_has_not_got_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = bench.tmp_path / "host.py"
    impatient.write_text(Path(host.__file__).read_text().replace("STALL_S = 10.0", "STALL_S = 0.2"))
    monkeypatch.setattr(host, "__file__", str(impatient))
    running = bench.start_ready("stty raw -echo; : > ready; exec sleep 60")
    receipt = bench.send(running, "x" * 1_000_000, "k1")
    assert receipt.state == "unknown" and "stopped reading" in receipt.why
    assert bench.send(running, "x" * 1_000_000, "k1") == receipt
    assert bench.alive(running)


def test_a_message_in_flight_when_the_session_ends_is_unknown(bench: Bench) -> None:
    running = bench.start_ready("stty raw -echo; : > ready; exec sleep 60")
    receipts = []
    sender = threading.Thread(target=lambda: receipts.append(bench.send(running, "x" * 1_000_000)))
    sender.start()
    sender.join(0.1)
    bench.stop(running)
    sender.join(10)
    assert receipts[0].state in ("unknown", "rejected")
    assert receipts[0].state == "unknown" or "over" in receipts[0].why


def test_a_message_without_end_is_refused(bench: Bench) -> None:
    running = bench.start_ready(LISTENER)
    receipt = bench.send(running, "x" * (host.MESSAGE_BYTES + 1))
    assert receipt.state == "rejected" and str(host.MESSAGE_BYTES) in receipt.why


@pytest.mark.parametrize("noise", [b"", b"\n", b"what\n", b"send\n", b"send k x\n", b"send k 99\nshort", b"attach a b\n", b"x" * 100_000])
def test_noise_on_the_socket_is_survived(bench: Bench, noise: bytes) -> None:
    running = bench.start_ready(LISTENER)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(looking.socket_path(bench.rig, running.session.id)))
        stranger.sendall(noise)
    assert bench.send(running, "hello").state == "delivered"
    assert bench.alive(running)


@pytest.mark.parametrize(
    ("printed", "bracketed"),
    [
        (r"\033[?2004h", True),
        (r"\033[?2004h\033[?2004l", False),
        (r"\033[?1049;2004h", True),
        (r"\033[?2004;25h", True),
        ("2004h", False),
        (r"\033[?20041h", False),
        (r"\033[?2004h and 2004 pages", True),
    ],
)
def test_paste_mode_is_followed(bench: Bench, printed: str, bracketed: bool) -> None:
    running = bench.start(f"stty raw -echo; printf '{printed}'; sleep 0.05; printf listening; exec cat > got")
    bench.read_until(running, lambda data: b"listening" in data)
    bench.send(running, "text")
    expected = b"\x1b[200~text\x1b[201~\r" if bracketed else b"text\r"
    bench.wait(lambda: running.file("got").read_bytes() == expected, f"{expected!r} arrived")


def test_paste_mode_cut_in_two_is_followed(bench: Bench) -> None:
    running = bench.start("stty raw -echo; printf '\\033[?20'; sleep 0.1; printf '04hlistening'; exec cat > got")
    bench.read_until(running, lambda data: b"listening" in data)
    bench.send(running, "text")
    bench.wait(lambda: running.file("got").read_bytes() == b"\x1b[200~text\x1b[201~\r", "it arrived as a paste")


# attaching


class Viewer:
    """The attach client in a terminal."""

    def __init__(self, bench: Bench, running: Running, rows: int = 20, columns: int = 70) -> None:
        argv = bench.hooks.vermas_session_attach(rig=running.rig, session=running.session)
        assert argv is not None
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (rows, columns))
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(argv, stdin=self.slave, stdout=self.slave, stderr=self.slave)
        self.text = b""

    def expect(self, text: bytes, deadline_s: float = 10.0) -> None:
        """Wait until `text` is on the screen."""
        deadline = time.monotonic() + deadline_s
        while text not in self.text:
            assert select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0], f"{text!r} not in {self.text!r}"
            self.text += os.read(self.master, 4096)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def close(self) -> None:
        """Reap."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def viewers() -> Iterator[list[Viewer]]:
    made: list[Viewer] = []
    yield made
    for viewer in made:
        viewer.close()


def test_attach_shows_types_and_detaches(bench: Bench, viewers: list[Viewer]) -> None:
    running = bench.start_ready("stty -echo; echo past; : > ready; while read line; do echo got $line; done")
    assert not bench.observe(running).attached
    viewers.append(viewer := Viewer(bench, running))
    viewer.expect(b"past")
    assert bench.wait(lambda: bench.observe(running).attached, "somebody is attached")
    viewer.type(b"words\r")
    viewer.expect(b"got words")
    viewer.type(b"\x1c")
    viewer.expect(b"[detached]")
    assert viewer.process.wait(10) == 0
    assert termios.tcgetattr(viewer.slave) == viewer.before
    bench.wait(lambda: not bench.observe(running).attached, "nobody is attached")
    assert bench.alive(running)


def test_attach_brings_its_window_size(bench: Bench, viewers: list[Viewer]) -> None:
    running = bench.start_ready("trap 'echo size $(stty size)' WINCH; : > ready; while :; do sleep 0.02; done")
    viewers.append(viewer := Viewer(bench, running))
    viewer.expect(b"size 20 70")
    termios.tcsetwinsize(viewer.slave, (30, 100))
    viewer.process.send_signal(signal.SIGWINCH)
    viewer.expect(b"size 30 100")


def test_attach_sees_the_end(bench: Bench, viewers: list[Viewer]) -> None:
    running = bench.start_ready(": > ready; read line; echo bye; exit 3")
    viewers.append(viewer := Viewer(bench, running))
    bench.wait(lambda: bench.observe(running).attached, "somebody is attached")
    viewer.type(b"\r")
    viewer.expect(b"bye")
    viewer.expect(b"[session ended]")
    assert viewer.process.wait(10) == 0
    assert bench.ended(running).code == 3


def test_interrupt_key_of_a_viewer_reaches_the_agent(bench: Bench, viewers: list[Viewer]) -> None:
    running = bench.start_ready("trap 'echo interrupted' INT; : > ready; while :; do sleep 0.02; done")
    viewers.append(viewer := Viewer(bench, running))
    bench.wait(lambda: bench.observe(running).attached, "somebody is attached")
    viewer.type(b"\x03")
    viewer.expect(b"interrupted")
    assert viewer.process.poll() is None


def test_attach_makes_a_full_screen_program_paint(bench: Bench, viewers: list[Viewer]) -> None:
    running = bench.start_ready("trap 'echo painted' WINCH; : > ready; while :; do sleep 0.02; done")
    viewers.append(viewer := Viewer(bench, running, rows=33, columns=99))
    viewer.expect(b"painted")


def test_two_viewers_see_the_same(bench: Bench, viewers: list[Viewer]) -> None:
    running = bench.start_ready("stty -echo; : > ready; while read line; do echo got $line; done")
    viewers.extend([Viewer(bench, running), Viewer(bench, running)])
    bench.wait(lambda: bench.observe(running).attached, "somebody is attached")
    viewers[0].type(b"words\r")
    viewers[0].expect(b"got words")
    viewers[1].expect(b"got words")
    viewers[0].type(b"\x1c")
    viewers[0].process.wait(10)
    assert bench.observe(running).attached


def test_a_viewer_that_does_not_look_holds_up_nobody(bench: Bench) -> None:
    running = bench.start_ready(": > ready; until [ -e go ]; do sleep 0.01; done; yes flood | head -c 8000000; : > flooded; exec sleep 60")
    with socket.socket(socket.AF_UNIX) as sleepy:
        sleepy.connect(str(looking.socket_path(bench.rig, running.session.id)))
        sleepy.sendall(b"attach 24 80\n")
        bench.wait(lambda: bench.observe(running).attached, "somebody is attached")
        running.file("go").touch()
        bench.wait(running.file("flooded").exists, "the agent went on")
        bench.wait(lambda: not bench.observe(running).attached, "the viewer was dropped")


def test_attach_needs_a_terminal_and_a_session(bench: Bench) -> None:
    running = bench.start_ready(SLEEPER)
    argv = bench.hooks.vermas_session_attach(rig=bench.rig, session=running.session)
    assert argv is not None
    assert subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 2
    bench.stop(running)
    assert bench.hooks.vermas_session_attach(rig=bench.rig, session=running.session) is None
    master, slave = pty.openpty()
    late = subprocess.run(argv, stdin=slave, stdout=slave, stderr=subprocess.PIPE, check=False, timeout=10)
    assert late.returncode == 1 and b"the session is over" in late.stderr
    os.close(master)
    os.close(slave)


# the rest


def test_sessions_of_other_drivers_are_left_alone(bench: Bench) -> None:
    running = bench.start_ready(SLEEPER)
    foreign = replace(running.session, driver="tmux")
    assert vermas_process.vermas_session_observe(rig=bench.rig, sessions=[foreign]) == {}
    assert vermas_process.vermas_session_read(rig=bench.rig, session=foreign, cursor=0, limit_bytes=1) is None
    assert vermas_process.vermas_session_send(rig=bench.rig, session=foreign, text="x", key="k") is None
    vermas_process.vermas_session_stop(rig=bench.rig, session=foreign, grace_s=0.1)
    assert bench.alive(running)


NO_PROCESS = """
import json, sys
import vermas_process
from vermas.types import Rig, Session, from_json

def forbid(event, arguments):
    if event in ("os.fork", "os.exec", "os.posix_spawn", "os.system", "subprocess.Popen"):
        raise RuntimeError(event)

sys.addaudithook(forbid)
rig, sessions = json.load(sys.stdin)
rig, sessions = from_json(Rig, rig), [from_json(Session, session) for session in sessions]
seen = vermas_process.vermas_session_observe(rig=rig, sessions=sessions)
print(*[seen[session.id].state for session in sessions], vermas_process.vermas_session_discover(rig=rig) == sessions)
"""


def test_looking_starts_no_process(bench: Bench) -> None:
    sessions = [bench.start_ready(SLEEPER, bench.polecat(f"slot{number}")).session for number in range(3)]
    given = json.dumps(to_json([replace(bench.rig, options={}), sessions]))
    done = subprocess.run([sys.executable, "-c", NO_PROCESS], input=given, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("alive alive alive True\n", "")


def test_doctor_names_what_is_wrong(bench: Bench) -> None:
    assert {check.status for check in vermas_process.vermas_doctor(rig=bench.rig)} == {"ok"}
    long = replace(bench.rig, run_dir="/tmp/" + "x" * 100)
    assert [check.hint for check in vermas_process.vermas_doctor(rig=long) if check.status == "error"]
    os.chmod(bench.rig.run_dir, 0o755)
    assert [check for check in vermas_process.vermas_doctor(rig=bench.rig) if "open to others" in check.message]


def test_import_is_light() -> None:
    code = "import sys, vermas_process; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"subprocess", "socket", "asyncio", "vermas.processes"}
    assert processes.quick_start(host.__file__).endswith((".py", ".pyc"))
