"""The fake agent on a real repository; a small program on PATH stands for `vermas` and notes how it was called."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vermas.testing import fake_agent

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    path = tmp_path / "checkout"
    git(tmp_path, "init", "-q", "-b", "main", str(path))
    commit(path, "README.md", "hello\n")
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin/vermas"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexit ${{VERMAS_EXIT:-0}}\n')
    program.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(home), "VERMAS_PROMPT_FILE": str(home / "prompt.md")}


@pytest.fixture
def agent(checkout: Path, environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs the agent on a bead with these steps; `session_no`, `prompt` and other variables by name."""

    def run(
        *steps: str, session_no: int = 1, prompt: str = "Start at once.", input: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        description = "\n".join(["Do it.", "", "```agent", *steps, "```", "", "Thanks."]) if steps else "Do it."
        bead = tmp_path / "home/bead.json"
        bead.write_text(json.dumps({"id": "web-1", "title": "say hello", "description": description}))
        Path(environment["VERMAS_PROMPT_FILE"]).write_text(prompt)
        session = {"VERMAS_BEAD_FILE": str(bead), "VERMAS_SESSION_NO": str(session_no), **extra}
        return subprocess.run(
            fake_agent.command(),
            check=False,
            cwd=checkout,
            env={**environment, **session},
            input=input,
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    path = tmp_path / "calls"
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "daemon.pid"
    yield path
    if path.exists():
        os.kill(int(path.read_text()), signal.SIGKILL)


def git(directory: Path, *args: str) -> str:
    return subprocess.run([*fake_agent.GIT, *args], cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


def commit(checkout: Path, name: str, text: str) -> str:
    (checkout / name).write_text(text)
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", f"write {name}")
    return git(checkout, "rev-parse", "HEAD")


def conflict(checkout: Path) -> str:
    """Two branches that changed the same file; the checkout is on `ours`, the answer is the other commit."""
    base = git(checkout, "rev-parse", "HEAD")
    theirs = commit(checkout, "list.txt", "theirs\n")
    git(checkout, "checkout", "-q", "-b", "ours", base)
    commit(checkout, "list.txt", "ours\n")
    return theirs


def test_without_a_script_it_writes_a_file_and_is_done(agent: Run, checkout: Path, calls: Callable[[], list[str]]) -> None:
    assert agent().returncode == 0
    assert (checkout / "web-1.txt").read_text() == "say hello\n"
    assert git(checkout, "log", "-1", "--format=%an %s") == "Fake Agent web-1: say hello"
    assert git(checkout, "status", "--porcelain") == ""
    assert calls() == ["done"]


def test_without_a_bead_file_the_environment_is_enough(checkout: Path, environment: dict[str, str]) -> None:
    subprocess.run(fake_agent.command(), cwd=checkout, env={**environment, "VERMAS_BEAD": "web-9"}, check=True, timeout=30)
    assert (checkout / "web-9.txt").exists()


def test_steps(agent: Run, checkout: Path, calls: Callable[[], list[str]]) -> None:
    done = agent(
        "write a/b.txt one\\ntwo", "append a/b.txt three", "print hi there", "commit first", "commit nothing", "vermas signal busy",
        "done --no-change 'no need'",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (checkout / "a/b.txt").read_text() == "one\ntwo\nthree\n"
    assert "\nhi there\n" in done.stdout
    assert git(checkout, "log", "--format=%s") == "first\nwrite README.md"
    assert calls() == ["signal busy", "done --no-change no need"]


def test_exit(agent: Run, calls: Callable[[], list[str]]) -> None:
    assert agent("exit 3", "done").returncode == 3
    assert calls() == []


def test_crash_is_a_kill(agent: Run) -> None:
    assert agent("crash").returncode == -signal.SIGKILL


def test_crash_once(agent: Run, calls: Callable[[], list[str]]) -> None:
    assert agent("crash-once", "done").returncode == -signal.SIGKILL
    assert agent("crash-once", "done", session_no=2).returncode == 0
    assert calls() == ["done"]


def test_forget_done_once(agent: Run, calls: Callable[[], list[str]]) -> None:
    assert agent("forget-done-once", "done").returncode == 0
    assert calls() == []
    assert agent("forget-done-once", "done", session_no=2).returncode == 0
    assert calls() == ["done"]


def test_first_and_later(agent: Run) -> None:
    steps = ("first print one", "later print more")
    assert "\none\n" in agent(*steps).stdout
    assert "\nmore\n" not in agent(*steps).stdout
    assert "\nmore\n" in agent(*steps, session_no=3).stdout


def test_a_refused_done_is_its_exit_code(agent: Run) -> None:
    result = agent("done", "print unreached", VERMAS_EXIT="8")
    assert result.returncode == 8
    assert "unreached" not in result.stdout


def test_an_unknown_step_is_named(agent: Run) -> None:
    result = agent("dance")
    assert result.returncode == 1
    assert "no step 'dance'; there is: append" in result.stderr


def test_rework_keeps_both_sides(agent: Run, checkout: Path, calls: Callable[[], list[str]]) -> None:
    theirs = conflict(checkout)
    result = agent(prompt=f"It did not merge.\n\n{fake_agent.MERGE}{theirs}\n")
    assert result.returncode == 0, result.stderr
    assert sorted((checkout / "list.txt").read_text().split()) == ["ours", "theirs"]
    assert git(checkout, "rev-parse", "HEAD^2") == theirs
    assert git(checkout, "status", "--porcelain") == ""
    assert calls() == ["done"]


def test_rework_with_a_deleted_file(agent: Run, checkout: Path) -> None:
    base = git(checkout, "rev-parse", "HEAD")
    git(checkout, "rm", "-q", "README.md")
    git(checkout, "commit", "-q", "-m", "remove it")
    theirs = git(checkout, "rev-parse", "HEAD")
    git(checkout, "checkout", "-q", "-b", "ours", base)
    commit(checkout, "README.md", "changed\n")
    assert agent(prompt=f"{fake_agent.MERGE}`{theirs}`").returncode == 0
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "merge-base", "HEAD", theirs) == theirs


def test_rework_with_resolve_steps(agent: Run, checkout: Path, calls: Callable[[], list[str]]) -> None:
    theirs = conflict(checkout)
    result = agent("write list.txt again", "resolve list.txt settled", "done", prompt=f"{fake_agent.MERGE}{theirs}")
    assert result.returncode == 0, result.stderr
    assert (checkout / "list.txt").read_text() == "settled\n"
    assert git(checkout, "rev-parse", "HEAD^2") == theirs
    assert calls() == ["done"]


def test_resolve_steps_wait_for_a_rework(agent: Run, checkout: Path) -> None:
    agent("resolve list.txt settled", "print nothing")
    assert not (checkout / "list.txt").exists()


def test_daemonise_leaves_a_child_behind(agent: Run, pid_file: Path) -> None:
    assert agent(f"daemonise {pid_file}").returncode == 0
    pid = int(pid_file.read_text())
    os.kill(pid, 0)
    os.kill(pid, signal.SIGHUP)
    assert os.getsid(pid) != os.getsid(0)


def test_flood(agent: Run) -> None:
    assert len(agent("flood 100001").stdout) == len("+ flood 100001\n") + 100_001


def test_read(agent: Run) -> None:
    assert "read: good morning" in agent("read", input="good morning\n").stdout


def test_ignore_term_and_wait_for(checkout: Path, environment: dict[str, str], tmp_path: Path) -> None:
    bead = tmp_path / "bead.json"
    steps = ["```agent", "ignore-term", "print deaf", f"wait-for {tmp_path}/go", "sleep 0.01", "exit 7", "```"]
    bead.write_text(json.dumps({"id": "web-1", "title": "", "description": "\n".join(steps)}))
    process = subprocess.Popen(
        fake_agent.command(), cwd=checkout, env={**environment, "VERMAS_BEAD_FILE": str(bead)}, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        while "deaf" not in process.stdout.readline().split():
            assert process.poll() is None
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        (tmp_path / "go").touch()
        assert process.wait(10) == 7


def test_it_starts_fast(agent: Run) -> None:
    """It imports nothing heavy: a benchmark of the fleet would measure the agent instead."""
    probe = f"import sys; exec(open({fake_agent.__file__!r}).read(), {{'__name__': 'fake'}}); print(*sys.modules)"
    argv = [*fake_agent.command()[:-1], "-c", probe]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert not {"subprocess", "typing", "dataclasses", "pathlib", "shlex", "signal", "vermas"} & set(loaded)
