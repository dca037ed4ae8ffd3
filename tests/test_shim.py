"""The supervisor on real processes, with and without a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vermas import processes, shim

STUBBORN = "trap '' TERM HUP INT; touch {ready}; while :; do sleep 0.05; done"


def until(fact: Callable[[], Any], deadline_s: float = 10.0) -> Any:
    """Wait for a fact; its value."""
    deadline = time.monotonic() + deadline_s
    while not (value := fact()):
        assert time.monotonic() < deadline, f"never came true: {fact}"
        time.sleep(0.005)
    return value


def complaint(process: subprocess.Popen[bytes]) -> bytes:
    """What an ended shim said on stderr."""
    assert process.stderr is not None
    return process.stderr.read()


class Bench:
    """Starts sessions of one polecat in a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.town = f"t{os.getpid()}x{os.urandom(4).hex()}"
        self.started: list[subprocess.Popen[bytes]] = []

    def spec(self, argv: list[str], number: int = 1, **overrides: Any) -> str:
        """Write the spec of session `number`; its path."""
        spec = {
            "id": f"p1-{number}",
            "lock": str(self.path / "lock"),
            "record": str(self.path / f"shim-{number}.json"),
            "exit": str(self.path / f"exit-{number}.json"),
            "argv": argv,
            "env": {"PATH": os.environ["PATH"], "VERMAS_SESSION": f"{self.town}/p1/{number}"},
            "cwd": str(self.path),
            "stdin": None,
            "output": str(self.path / f"output-{number}.log"),
            "grace_s": 0.3,
            "poke": "",
            "timeout_s": None,
        }
        path = self.path / f"spec-{number}-{os.urandom(2).hex()}.json"
        processes.write_spec(path, spec | overrides)
        return str(path)

    def start(self, argv: list[str], number: int = 1, **overrides: Any) -> subprocess.Popen[bytes]:
        """Start a session without a terminal."""
        process = subprocess.Popen(
            processes.shim_argv(self.spec(argv, number, **overrides)), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.started.append(process)
        return process

    def run(self, argv: list[str], number: int = 1, **overrides: Any) -> tuple[int, processes.ExitRecord]:
        """Run a session to its end: the shim's return code and the record."""
        code = self.start(argv, number, **overrides).wait(20)
        return code, self.ended(number)

    def ended(self, number: int = 1) -> processes.ExitRecord:
        """The exit record, which must be there."""
        record = processes.read_exit(self.path / f"exit-{number}.json")
        assert record is not None and record.id == f"p1-{number}"
        return record

    def output(self, number: int = 1) -> bytes:
        """What the agent printed."""
        return (self.path / f"output-{number}.log").read_bytes()

    def living(self) -> list[int]:
        """Processes of this town."""
        return processes.tagged(self.town)

    def stubborn(self) -> str:
        """A script that ignores polite requests, and says when it does."""
        return STUBBORN.format(ready=self.path / "ready")

    def ready(self) -> None:
        """Wait for the stubborn script."""
        until((self.path / "ready").exists)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
    assert processes.sweep(made.town, 0.0) == []


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_code_is_the_agents(bench: Bench, code: int) -> None:
    returned, record = bench.run(["sh", "-c", f"exit {code}"])
    assert (returned, record.code, record.signal, record.stopped_by, record.error) == (code, code, None, "", "")
    assert record.survivors == () and not record.timed_out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGUSR1])
def test_dies_by_the_agents_signal(bench: Bench, number: signal.Signals) -> None:
    returned, record = bench.run(["sh", "-c", f"kill -{int(number)} $$"])
    assert (returned, record.code, record.signal) == (-number, None, number)
    assert record.stopped_by == "", "nobody told the shim to stop"
    assert not list(bench.path.glob("core*"))


def test_duration_and_cpu_time_of_the_whole_tree(bench: Bench) -> None:
    _, record = bench.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.1: pass"])
    assert 0.09 <= record.cpu_s <= record.duration_s + 0.5


@pytest.mark.parametrize(
    ("argv", "overrides", "code", "message"),
    [
        (["no-such-agent"], {}, 127, "No such file on PATH: no-such-agent"),
        (["./nothing/here"], {}, 127, "./nothing/here"),
        (["./plain"], {}, 126, "Permission denied: ./plain"),
        (["true"], {"cwd": "/no/such/place"}, 127, "/no/such/place"),
        (["true"], {"stdin": "/no/such/prompt"}, 127, "/no/such/prompt"),
        ([], {}, 126, ""),
    ],
)
def test_a_start_that_failed_is_recorded(bench: Bench, argv: list[str], overrides: dict[str, Any], code: int, message: str) -> None:
    (bench.path / "plain").write_text("not executable")
    returned, record = bench.run(argv, **overrides)
    assert (returned, record.code) == (code, code)
    assert message in record.error and record.error


def test_argv_reaches_the_agent_without_a_shell(bench: Bench) -> None:
    words = ["a b", "$(touch pwned)", ";", "", "\n", "é\udcff"]
    bench.run([sys.executable, "-c", "import sys, os; sys.stdout.buffer.write(os.fsencode('|'.join(sys.argv[1:])))", *words])
    assert bench.output() == "|".join(words).encode("utf-8", "surrogateescape")


def test_environment_is_exactly_the_specs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "secret")
    env = {"PATH": os.environ["PATH"], "ODD": "quote ' \" \n new line é", "VERMAS_SESSION": f"{bench.town}/p1/1"}
    bench.run(["env", "-0"], env=env)
    seen = dict(pair.split("=", 1) for pair in bench.output().decode().split("\0") if pair)
    assert seen == env


def test_no_descriptor_or_signal_setting_leaks_into_the_agent(bench: Bench) -> None:
    with open(bench.path / "secret", "w") as file:
        os.set_inheritable(file.fileno(), True)
        process = subprocess.Popen(
            processes.shim_argv(bench.spec(["sh", "-c", "ls /proc/self/fd | wc -l; grep -E '^Sig(Blk|Ign)' /proc/self/status"])),
            pass_fds=[file.fileno()],
            stdin=subprocess.DEVNULL,
        )
        assert process.wait(10) == 0
    count, blocked, ignored = bench.output().decode().splitlines()
    assert int(count) == 4, "stdin, stdout, stderr and the listing's own"
    libc_keeps = 3 << 31  # signals 32 and 33: nobody can set them through the C library
    assert int(blocked.split()[1], 16) & ~libc_keeps == int(ignored.split()[1], 16) & ~libc_keeps == 0


def test_spec_is_removed_before_the_agent_runs(bench: Bench) -> None:
    bench.run(["sh", "-c", "ls"])
    assert b"spec" not in bench.output()
    assert b"shim-1.json" in bench.output(), "its record is there before its first instruction"


def test_stdin_and_output_files(bench: Bench) -> None:
    (bench.path / "prompt").write_bytes(b"hello \xff\0")
    (bench.path / "output-1.log").write_bytes(b"old " * 100)
    bench.run(["sh", "-c", "cat; echo more >&2"], stdin=str(bench.path / "prompt"))
    assert bench.output() == b"hello \xff\0more\n"
    bench.run(["true"], number=2)
    assert (bench.path / "output-2.log").stat().st_mode & 0o777 == 0o600


def test_without_output_file_the_runtimes_descriptors_are_kept(bench: Bench) -> None:
    argv = processes.shim_argv(bench.spec(["sh", "-c", "cat; echo err >&2"], output=None))
    done = subprocess.run(argv, input=b"in\n", capture_output=True, timeout=10, check=True)
    assert (done.stdout, done.stderr) == (b"in\n", b"err\n")


def test_files_are_private_and_whole(bench: Bench) -> None:
    bench.run(["true"])
    for name in ("lock", "shim-1.json", "exit-1.json"):
        assert (bench.path / name).stat().st_mode & 0o777 == 0o600
    assert set(json.loads((bench.path / "exit-1.json").read_text())) == set(processes.ExitRecord.__slots__)
    assert not list(bench.path.glob("*.tmp"))


def test_record_proves_the_shim_and_names_the_agent(bench: Bench) -> None:
    shim_process = bench.start(["sh", "-c", "echo $$; exec sleep 60"])
    until(lambda: (bench.path / "output-1.log").exists() and bench.output())
    record = processes.read_record(bench.path / "shim-1.json")
    assert record is not None and (record.id, record.pid) == ("p1-1", shim_process.pid)
    assert record.agent_pid == int(bench.output())
    assert record.start_ticks == shim.start_ticks(shim_process.pid) and record.boot_id == shim.boot_id()


def test_held_lock_refuses_and_starts_nothing(bench: Bench) -> None:
    bench.start(["sleep", "60"])
    until(lambda: processes.lock_held(bench.path / "lock"))
    second = bench.start(["touch", "started"], number=2)
    assert second.wait(10) == 75
    assert b"is held" in complaint(second)
    assert not (bench.path / "started").exists() and not (bench.path / "shim-2.json").exists()
    assert len(list(bench.path.glob("spec-2*"))) == 0, "a refused spec holds secrets too"


def test_of_many_at_once_one_runs(bench: Bench) -> None:
    started = [bench.start(["sh", "-c", "echo x >> ran; sleep 60"], output=None) for _ in range(12)]
    until(lambda: sum(process.poll() == 75 for process in started) == 11, 20)
    until((bench.path / "ran").exists)
    assert (bench.path / "ran").read_text() == "x\n"


def test_looking_at_the_lock_refuses_nobody(bench: Bench) -> None:
    for number in range(1, 6):
        process = bench.start(["true"], number)
        while process.poll() is None:
            processes.lock_held(bench.path / "lock")
        assert process.returncode == 0


def test_a_session_runs_once(bench: Bench) -> None:
    assert bench.run(["sh", "-c", "echo x >> ran"])[0] == 0
    before = (bench.path / "exit-1.json").read_bytes()
    again = bench.start(["sh", "-c", "echo x >> ran"])
    assert again.wait(10) == 75 and b"ran already" in complaint(again)
    assert (bench.path / "ran").read_text() == "x\n"
    assert (bench.path / "exit-1.json").read_bytes() == before
    assert bench.run(["true"], number=2)[0] == 0, "the next session is another one"


def test_a_spec_works_once(bench: Bench) -> None:
    argv = processes.shim_argv(bench.spec(["true"]))
    assert subprocess.run(argv, timeout=10, check=False).returncode == 0
    again = subprocess.run(argv, timeout=10, check=False, capture_output=True)
    assert again.returncode == 75 and b"started already" in again.stderr


def test_without_a_record_the_agent_never_executes(bench: Bench) -> None:
    process = bench.start(["touch", str(bench.path / "started")], record=str(bench.path / "nowhere" / "shim.json"))
    assert process.wait(10) == shim.NO_RECORD and b"cannot write" in complaint(process)
    assert bench.living() == [] and not (bench.path / "started").exists()


def test_an_unwritable_exit_record_does_not_hide_the_end(bench: Bench) -> None:
    process = bench.start(["sh", "-c", "exit 3"], exit=str(bench.path / "nowhere" / "exit.json"))
    assert process.wait(10) == 3 and b"cannot write" in complaint(process)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "TERM"), (signal.SIGHUP, "HUP"), (signal.SIGINT, "INT")])
def test_asked_to_stop_it_ends_the_tree(bench: Bench, number: signal.Signals, name: str) -> None:
    process = bench.start(["sh", "-c", "sleep 60 & touch ready; sleep 60"], grace_s=10)
    bench.ready()
    process.send_signal(number)
    assert process.wait(5) == -signal.SIGTERM
    assert bench.ended().stopped_by == name
    assert bench.living() == []


def test_an_agent_that_cleans_up_in_time_keeps_its_code(bench: Bench) -> None:
    process = bench.start(["sh", "-c", "trap 'exit 5' TERM; touch ready; while :; do sleep 0.02; done"], grace_s=10)
    bench.ready()
    process.terminate()
    assert process.wait(5) == 5
    assert (bench.ended().code, bench.ended().stopped_by) == (5, "TERM")


def test_a_stop_that_is_ignored_becomes_kill_after_the_grace(bench: Bench) -> None:
    process = bench.start(["sh", "-c", bench.stubborn()], grace_s=0.3)
    bench.ready()
    asked_at = time.monotonic()
    process.terminate()
    assert process.wait(10) == -signal.SIGKILL
    assert 0.25 <= time.monotonic() - asked_at < 3
    assert (bench.ended().signal, bench.ended().stopped_by) == (signal.SIGKILL, "TERM")
    assert bench.living() == []


def test_a_paused_agent_can_be_stopped(bench: Bench) -> None:
    process = bench.start(["sh", "-c", "touch ready; kill -STOP $$; sleep 60"], grace_s=10)
    bench.ready()
    record = until(lambda: processes.read_record(bench.path / "shim-1.json"))
    until(lambda: shim.state_and_parent(record.agent_pid)[0] == "T")
    process.terminate()
    assert process.wait(5) == -signal.SIGTERM


def test_job_control_without_a_terminal_is_undone(bench: Bench) -> None:
    assert bench.run(["sh", "-c", "kill -TSTP $$; exit 4"])[0] == 4


def test_time_limit(bench: Bench) -> None:
    code, record = bench.run(["sh", "-c", bench.stubborn()], timeout_s=0.3)
    assert code == -signal.SIGKILL and record.timed_out and record.stopped_by == ""
    assert 0.3 <= record.duration_s < 3
    assert bench.living() == []


def test_time_limit_in_time(bench: Bench) -> None:
    code, record = bench.run(["true"], timeout_s=30)
    assert code == 0 and not record.timed_out


DAEMON = """
import os, signal, sys, time
os.setsid()
if os.fork(): os._exit(0)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
for fd in (0, 1, 2): os.close(fd)
open(sys.argv[1], "w").close()
time.sleep(60)
"""


@pytest.mark.parametrize(
    "command",
    [
        "sleep 60 & touch ready",
        "nohup sleep 60 & touch ready",
        "setsid sleep 60 & touch ready",
        "({stubborn}) & while ! test -e ready; do sleep 0.01; done",
        "(setsid sh -c 'setsid sleep 60 &' &); touch ready",
        "env -i PATH=$PATH setsid sleep 60 & touch ready",
        '{python} -c "$DAEMON" ready & while ! test -e ready; do sleep 0.01; done',
    ],
    ids=["background", "nohup", "setsid", "ignores", "double-fork", "no-environment", "daemon"],
)
def test_nothing_outlives_the_agent(bench: Bench, command: str) -> None:
    env = {"PATH": os.environ["PATH"], "DAEMON": DAEMON, "VERMAS_SESSION": f"{bench.town}/p1/1"}
    script = command.format(stubborn=bench.stubborn(), python=sys.executable) + "; exit 6"
    code, record = bench.run(["sh", "-c", script], env=env)
    assert (code, record.survivors) == (6, ())
    assert record.duration_s < 5
    assert bench.living() == []
    assert not processes.lock_held(bench.path / "lock")


def test_a_tree_that_forks_without_end_is_ended(bench: Bench) -> None:
    script = "trap '' TERM; fork() { sleep 0.03; touch ready; fork & }; fork & fork & exit 0"
    code, record = bench.run(["sh", "-c", script], grace_s=0.2)
    assert (code, record.survivors) == (0, ())
    assert bench.living() == []


def test_pokes_after_start_and_after_the_record(bench: Bench) -> None:
    path = f"/tmp/vt-{os.urandom(4).hex()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        try:
            listener.settimeout(10)
            bench.start(["cat"], poke=path, stdin=None)
            assert listener.recv(100) == b"start p1-1"
            assert listener.recv(100) == b"exit p1-1"
            assert bench.ended().code == 0
        finally:
            os.unlink(path)


@pytest.mark.parametrize("path", ["/tmp/nobody-listens-here", "/" + "long" * 60])
def test_a_poke_that_nobody_hears_is_nothing(bench: Bench, path: str) -> None:
    assert bench.run(["true"], poke=path)[0] == 0


def test_a_listener_that_does_not_read_blocks_nobody(bench: Bench) -> None:
    path = f"/tmp/vt-{os.urandom(4).hex()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        listener.bind(path)
        sender.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                sender.sendto(b"x", path)
        assert bench.run(["true"], poke=path)[0] == 0
        os.unlink(path)


def test_killed_shim_takes_a_well_behaved_agent_along(bench: Bench) -> None:
    process = bench.start(["sh", "-c", "trap 'touch told; exit' TERM; touch ready; while :; do sleep 0.02; done"])
    bench.ready()
    process.kill()
    process.wait()
    until((bench.path / "told").exists)
    until(lambda: not bench.living())
    assert not (bench.path / "exit-1.json").exists()


def test_starts_without_heavy_imports(bench: Bench) -> None:
    python, *options, script, spec = processes.shim_argv(bench.spec(["true"]))
    done = subprocess.run([python, "-X", "importtime", *options, script, spec], capture_output=True, text=True, timeout=10, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"os", "json", "re", "enum", "signal", "ctypes", "subprocess", "socket", "typing"}


class Screen:
    """A session on a pseudo-terminal, seen from its master side."""

    def __init__(self, bench: Bench, argv: list[str], *, controlling: bool = True, **overrides: Any) -> None:
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        command = processes.shim_argv(bench.spec(argv, output=None, **overrides))
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_login if controlling else None,  # noqa: PLW1509 - the test process has one thread
        )
        bench.started.append(self.process)
        self.slave = slave
        self.text = b""

    def expect(self, text: bytes, deadline_s: float = 10.0) -> None:
        """Wait until the program printed `text`."""
        deadline = time.monotonic() + deadline_s
        while text not in self.text:
            assert select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0], f"{text!r} not in {self.text!r}"
            self.text += os.read(self.master, 4096)

    def type(self, text: bytes) -> None:
        """Press keys."""
        os.write(self.master, text)

    def close(self) -> None:
        """The terminal goes away."""
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1


def _login() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    made: list[Screen] = []
    yield made
    for screen in made:
        if screen.master >= 0:
            screen.close()


@pytest.mark.parametrize("controlling", [True, False], ids=["inherited", "fresh"])
def test_the_agent_owns_its_terminal(bench: Bench, screens: list[Screen], controlling: bool) -> None:
    screens.append(screen := Screen(bench, ["sh", "-c", "echo ready; read line; echo got $line; tty; exit 3"], controlling=controlling))
    screen.expect(b"ready")
    screen.type(b"words\r")
    screen.expect(b"got words")
    screen.expect(b"/dev/pts/")
    assert screen.process.wait(10) == 3


@pytest.mark.parametrize("controlling", [True, False], ids=["inherited", "fresh"])
def test_interrupt_key_reaches_the_agent_only(bench: Bench, screens: list[Screen], controlling: bool) -> None:
    screens.append(
        screen := Screen(bench, ["sh", "-c", "trap 'echo caught' INT; echo ready; read a; read b; exit 4"], controlling=controlling)
    )
    screen.expect(b"ready")
    screen.type(b"\x03")
    screen.expect(b"caught")
    screen.type(b"\r\r")
    assert screen.process.wait(10) in (1, 4)
    assert bench.ended().stopped_by == ""


def test_suspend_key_does_not_lose_the_agent(bench: Bench, screens: list[Screen]) -> None:
    screens.append(screen := Screen(bench, [sys.executable, "-c", "print('ready', flush=True); print('got', input())"]))
    screen.expect(b"ready")
    screen.type(b"\x1a")
    screen.type(b"words\r")
    screen.expect(b"got words")
    assert screen.process.wait(10) == 0


def test_terminal_settings_are_restored(bench: Bench, screens: list[Screen]) -> None:
    screens.append(screen := Screen(bench, ["sh", "-c", "stty raw -echo; echo ready; kill -9 $$"]))
    screen.expect(b"ready")
    assert screen.process.wait(10) == -signal.SIGKILL
    assert termios.tcgetattr(screen.slave) == screen.before


def test_hangup_of_the_terminal_ends_the_tree(bench: Bench, screens: list[Screen]) -> None:
    screens.append(screen := Screen(bench, ["sh", "-c", f"trap '' HUP; (setsid sleep 60 &); echo up; {bench.stubborn()}"], grace_s=0.2))
    screen.expect(b"up")
    bench.ready()
    screen.close()
    assert screen.process.wait(10) == -signal.SIGKILL
    assert bench.ended().stopped_by == "HUP"
    assert bench.living() == []


def test_an_agent_that_exits_cleanly_at_hangup_did_not_finish(bench: Bench, screens: list[Screen]) -> None:
    screens.append(screen := Screen(bench, ["sh", "-c", "trap 'exit 0' HUP TERM; echo up; while :; do sleep 0.02; done"]))
    screen.expect(b"up")
    screen.close()
    assert screen.process.wait(10) == 0
    assert (bench.ended().code, bench.ended().stopped_by) == (0, "HUP")


def test_prompt_on_stdin_keeps_the_terminal(bench: Bench, screens: list[Screen]) -> None:
    (bench.path / "prompt").write_text("from the file")
    screens.append(
        screen := Screen(bench, ["sh", "-c", "cat; read line < /dev/tty; echo; echo got $line"], stdin=str(bench.path / "prompt"))
    )
    screen.expect(b"from the file")
    screen.type(b"keys\r")
    screen.expect(b"got keys")
    assert screen.process.wait(10) == 0


def test_last_words_are_not_lost(bench: Bench, screens: list[Screen]) -> None:
    screens.append(screen := Screen(bench, ["sh", "-c", "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; printf end"]))
    screen.expect(b"line 199\r\nend")
    assert screen.process.wait(10) == 0
