"""`SessionContract`, part 1: how a session starts and what its agent gets."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from vermas import processes
from vermas.testing.fresh import Call, FreshCall, call_in_fresh_process
from vermas.testing.session_bench import Bench, as_json
from vermas.testing.town import exit_file

HOSTILE = (
    "two  spaces",
    "ünï-漢字-🐈",
    "#(touch pwned)",
    "#{pid}#[fg=red]##[x",
    "'single' \"double\" `touch pwned`",
    "$(touch pwned);touch pwned",
    "%H%d%%",
    "end;",
    "new\nline",
    "-rf",
    "back\\slash",
)


class StartCases:
    """Starting: once, in the right place, with exactly the given arguments, environment and input."""

    has_terminal: bool

    def test_the_agent_runs_in_the_sandbox(self, bench: Bench) -> None:
        """The working directory is the sandbox's path."""
        running = bench.start("pwd -P > where")
        bench.ended(running)
        assert running.file("where").read_text() == os.path.realpath(running.sandbox.path) + "\n"

    @pytest.mark.parametrize("name", HOSTILE)
    def test_paths_are_data(self, bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever a directory above the checkout is called: the session starts there, is logged there, and nothing in the name runs."""
        monkeypatch.chdir(bench.tmp_path)
        rig = bench.make_rig(town=str(bench.tmp_path / name), origin=bench.rig.origin)
        running = bench.start_ready("echo hello; : > ready; exec sleep 60", rig=rig)
        assert bench.alive(running)
        bench.read_until(running, lambda data: b"hello" in data)
        bench.stop(running)
        bench.assert_nothing_left(running)
        assert [*bench.tmp_path.rglob("pwned"), *Path(rig.run_dir).rglob("pwned")] == []

    @pytest.mark.parametrize(
        ("rig_name", "slot"),
        [("r" * 39, "s" * 39), ("a", "b"), ("0", "0"), ("a--", "b-")],
        ids=["longest", "shortest", "digits", "hyphens"],
    )
    def test_names_at_their_limits(self, bench: Bench, rig_name: str, slot: str) -> None:
        """Every name that VerMAS allows for rigs and slots works."""
        rig = bench.make_rig(name=rig_name)
        running = bench.start_ready(": > ready; exec sleep 60", bench.polecat(slot, rig=rig), rig=rig)
        assert bench.discover(rig) == [running.session]
        bench.stop(running)
        bench.assert_nothing_left(running)

    def test_names_that_read_alike_when_joined(self, bench: Bench) -> None:
        """Rig `a` with slot `b-c` and rig `a-b` with slot `c` are two sessions."""
        one, two = bench.make_rig(name="a"), bench.make_rig(name="a-b")
        first = bench.start_ready(": > ready; exec sleep 60", bench.polecat("b-c", rig=one), rig=one)
        second = bench.start_ready(": > ready; exec sleep 60", bench.polecat("c", rig=two), rig=two)
        bench.stop(first)
        bench.assert_nothing_left(first)
        assert bench.alive(second)

    def test_a_prompt_of_100_kb_as_argument(self, bench: Bench) -> None:
        """One argument of 100 kB with quotes, newlines and expansions arrives unchanged."""
        prompt = ("line 'one' \"two\" $(touch pwned) `x` #{pid} ; \\ é\n" * 2200)[:100_000]
        running = bench.start(["sh", "-c", 'printf %s "$1" > prompt', "sh", prompt])
        bench.ended(running)
        assert running.file("prompt").read_text() == prompt

    def test_a_prompt_of_100_kb_on_stdin(self, bench: Bench) -> None:
        """A file given as standard input is read to its end by the agent, byte for byte."""
        polecat = bench.polecat()
        source = Path(polecat.home, "prompt-1.md")
        source.write_bytes(bytes(range(256)) * 400)
        running = bench.start("cat > prompt", polecat, stdin=source)
        bench.ended(running)
        assert running.file("prompt").read_bytes() == source.read_bytes()

    def test_the_environment_is_exact(self, bench: Bench) -> None:
        """Values with quotes, newlines, expansions and tmux formats arrive unchanged."""
        given = {
            "QUOTES": "'single' \"double\" `back`",
            "LINES": "one\ntwo\n\n",
            "EXPAND": "$(touch pwned) ${HOME} #{pid} #(touch pwned) %H",
            "END": "semicolon;",
            "EMPTY": "",
            "WIDE": "漢字🐈",
        }
        running = bench.start("cat /proc/self/environ > env", env=given)
        bench.ended(running)
        seen = dict(entry.partition("=")[::2] for entry in running.file("env").read_text().split("\0") if entry)
        assert {name: seen.get(name) for name in given} == given

    def test_the_starters_environment_does_not_leak(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is set where VerMAS runs, and not in the launch, is not set for the agent."""
        monkeypatch.setenv("VERMAS_TEST_LEAK", "leak")
        running = bench.start("cat /proc/self/environ > env")
        bench.ended(running)
        assert b"VERMAS_TEST_LEAK" not in running.file("env").read_bytes()

    def test_secrets_stay_in_the_environment(self, bench: Bench) -> None:
        """A secret of the environment shows up in no command line, handle, output or file."""
        secret = "s3cr3t-hunter2-0123456789"
        running = bench.start_ready("echo started; : > ready; exec sleep 60", env={"API_TOKEN": secret})
        bench.read_until(running, lambda data: b"started" in data)
        assert not any(secret.encode() in line for line in _command_lines())
        assert secret not in as_json(running.session)
        assert secret.encode() not in bench.read(running).data
        files = [path for root in (running.rig.town, running.rig.run_dir) for path in Path(root).rglob("*") if path.is_file()]
        assert [path for path in files if secret.encode() in path.read_bytes()] == []

    def test_a_terminal_is_offered(self, bench: Bench) -> None:
        """Input, output and errors are a terminal with a size, and the agent may read from it."""
        if not self.has_terminal:
            pytest.skip("this runtime declares that it has no terminal")
        running = bench.start("[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && stty size > size && stty -echo && : > ready")
        assert bench.ended(running).code == 0
        rows, columns = running.file("size").read_text().split()
        assert int(rows) >= 24
        assert int(columns) >= 80

    def test_a_start_is_idempotent(self, bench: Bench) -> None:
        """The same session started again is the same handle, and its agent runs once."""
        running = bench.start_ready("echo run >> runs; : > ready; exec sleep 60")
        again = bench.start("echo run >> runs; exec sleep 60", running.polecat)
        assert again.session == running.session
        assert bench.discover() == [running.session]
        bench.stop(running)
        assert running.file("runs").read_text() == "run\n"

    def test_an_ended_session_is_not_started_again(self, bench: Bench) -> None:
        """A start repeated after the end (VerMAS had crashed in between) does not run the agent a second time."""
        running = bench.start("echo run >> runs; exit 7")
        assert bench.ended(running).code == 7
        again = bench.start("echo run >> runs; exit 8", running.polecat)
        assert again.session.id == running.session.id
        assert bench.ended(again).code == 7
        assert running.file("runs").read_text() == "run\n"

    def test_two_processes_start_the_same_session(self, bench: Bench) -> None:
        """Two orchestrators that start the same session at the same moment get one session."""
        arguments = bench.prepare("echo run >> runs; : > ready; exec sleep 60")
        calls = [FreshCall(Call(plugin=bench.plugin, hook="session_start", arguments=arguments)) for _ in range(2)]
        first, second = [call.answer() for call in calls]
        for call in calls:
            call.close()
        assert first == second
        runs = Path(arguments["sandbox"].path, "runs")
        bench.wait(runs.exists, "the agent ran")
        assert bench.discover() == [first]
        assert runs.read_text() == "run\n"

    def test_fifty_starts_at_once(self, bench: Bench) -> None:
        """Fifty sessions started from sixteen threads all live, each in its own place, and all are seen in one call."""
        polecats = [bench.polecat(f"slot{number}") for number in range(50)]
        with ThreadPoolExecutor(16) as pool:
            all_running = list(pool.map(lambda polecat: bench.start(": > ready; exec sleep 60", polecat), polecats))
        for running in all_running:
            bench.wait(running.file("ready").exists, f"{running.session.id} runs")
        sessions = [running.session for running in all_running]
        seen = bench.hooks.vermas_session_observe(rig=bench.rig, sessions=sessions)
        assert {seen[session.id].state for session in sessions} == {"alive"}
        assert len(bench.discover()) == 50
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(bench.stop, all_running))
        assert bench.discover() == []

    def test_a_command_that_does_not_exist(self, bench: Bench) -> None:
        """The failure is in the exit record; the runtime does not take it for a live session."""
        running = bench.start(["/nonexistent/agent"])
        assert bench.ended(running).error
        bench.assert_nothing_left(running)

    def test_a_slot_is_free_right_after_the_end(self, bench: Bench) -> None:
        """The next session of a slot starts at the very moment at which the exit record of the former one appears."""
        polecat = bench.polecat()
        for number in range(1, 6):
            following = bench.polecat(number=number) if number > 1 else polecat
            running = bench.start(f"echo {number}; exit {number}", following)
            record = bench.wait(partial(processes.read_exit, exit_file(following)), "the session ends")
            assert record.code == number, running

    def test_no_descriptor_is_inherited(self, bench: Bench) -> None:
        """A lock that the starter holds is free once the starter lets go: nothing in the session or the back end inherited it."""
        path = bench.tmp_path / "lock"
        held = os.open(path, os.O_RDWR | os.O_CREAT)
        os.set_inheritable(held, True)
        fcntl.flock(held, fcntl.LOCK_EX)
        bench.start_ready(": > ready; exec sleep 60")
        os.close(held)
        probe = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(probe)

    def test_the_starter_may_go(self, bench: Bench) -> None:
        """A session lives on when the process that started it has ended."""
        arguments = bench.prepare(": > ready; exec sleep 60")
        session = call_in_fresh_process(bench.plugin, "session_start", **arguments)
        bench.wait(Path(arguments["sandbox"].path, "ready").exists, "the agent runs")
        assert bench.discover() == [session]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
    def test_signals_to_the_starters_group_stay_there(self, bench: Bench, number: int) -> None:
        """Ctrl-C, a hangup or a kill of the starter's process group does not reach the session."""
        arguments = bench.prepare(": > ready; exec sleep 60")
        call = FreshCall(Call(plugin=bench.plugin, hook="session_start", arguments=arguments, stay=True))
        session = call.answer()
        bench.wait(Path(arguments["sandbox"].path, "ready").exists, "the agent runs")
        call.kill(number)
        assert bench.hooks.vermas_session_observe(rig=bench.rig, sessions=[session])[session.id].state == "alive"

    @pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.005, 0.01, 0.02])
    def test_a_starter_killed_during_the_start(self, bench: Bench, delay_s: float) -> None:
        """Killed at any moment of a start, the same start by a fresh process ends up with one session whose agent ran once."""
        polecat = bench.polecat()
        script = "echo run >> runs; : > ready; exec sleep 60"
        call = FreshCall(Call(plugin=bench.plugin, hook="session_start", arguments=bench.prepare(script, polecat)))
        call.about_to()
        time.sleep(delay_s)
        call.kill()
        session = call_in_fresh_process(bench.plugin, "session_start", **bench.prepare(script, polecat))
        runs = Path(polecat.slot_dir, bench.rig.name, "runs")
        bench.wait(runs.exists, "the agent runs")
        assert bench.discover() == [session]
        assert runs.read_text() == "run\n"


def _command_lines() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue  # it ended meanwhile
    return lines
