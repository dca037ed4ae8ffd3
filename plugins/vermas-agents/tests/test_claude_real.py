"""The real Claude Code under tmux, against a model service on loopback: `pytest -m real_agent plugins/vermas-agents`."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vermas_agents import claude

from vermas.testing.plugin import PolecatFactory, RigFactory, Wait
from vermas.types import AgentEvent, Evidence, Launch, Observation, Polecat, Rig

pytestmark = [
    pytest.mark.real_agent,
    pytest.mark.skipif(shutil.which("claude") is None, reason="no claude on PATH (npm install -g @anthropic-ai/claude-code)"),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux on PATH"),
]

DEADLINE_S = 60.0


def load_mock() -> Any:
    spec = importlib.util.spec_from_file_location("mock_anthropic", Path(__file__).with_name("mock_anthropic.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service() -> Iterator[Any]:
    with load_mock().mock_anthropic() as server:
        yield server


class Place:
    """A rig, a polecat with its worktree, a home in which Claude was set up, and a program that notes each `vermas signal`."""

    def __init__(self, directory: Path, rig: Rig, polecat: Polecat, url: str, run_dir: str) -> None:
        self.rig, self.polecat = rig, polecat
        self.checkout = Path(polecat.slot_dir, rig.name)
        self.tmux = ["tmux", "-S", f"{run_dir}/t", "-f", "/dev/null"]
        self.home, self.signals = directory / "home", directory / "signals"
        self.home.mkdir()
        state = {"hasCompletedOnboarding": True, "projects": {os.path.realpath(rig.yard): {"hasTrustDialogAccepted": True}}}
        (self.home / ".claude.json").write_text(json.dumps(state))
        self.signals.mkdir()
        program = directory / "bin/vermas"
        program.parent.mkdir()
        program.write_text(
            f'#!/bin/sh\nfile=$(mktemp {self.signals}/.XXXXXX)\n[ "$3" = --stdin ] && cat > $file\n'
            f"mv $file {self.signals}/$(date +%s%N).$2\n"
        )
        program.chmod(0o755)
        self.env = {
            "HOME": str(self.home),
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_AUTH_TOKEN": "dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **{f"GIT_{who}_{what}": "agent@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def start(self, prompt: str, session_no: int = 1, resume_token: str = "") -> Launch:
        """Launch as the core does: write the files, run the argv with a clean environment."""
        polecat = dataclasses.replace(self.polecat, session_no=session_no, resume_token=resume_token)
        prompt_file = Path(polecat.home, f"prompt-{session_no}.md")
        prompt_file.write_text(prompt)
        launch = claude.vermas_agent_launch(
            rig=self.rig, role="polecat", polecat=polecat, prompt_file=str(prompt_file), resume=session_no > 1
        )
        assert launch is not None
        for file in launch.files:
            Path(file.path).write_text(file.content)
        words = [f"{name}={value}" for name, value in {**self.env, **launch.env, "TERM": "tmux-256color"}.items()]
        argv = [*self.tmux, "new-session", "-d", "-x", "150", "-y", "50", "-c", str(self.checkout), "env", "-i", *words, *launch.argv]
        subprocess.run(argv, check=True, env={"PATH": os.environ["PATH"]}, timeout=10)
        return launch

    def events(self) -> list[AgentEvent]:
        files = sorted(path for path in self.signals.iterdir() if not path.name.startswith("."))
        return [
            AgentEvent(name=path.name.split(".", 1)[1], age_s=0.0, session_no=1, data=json.loads(path.read_text() or "{}"))
            for path in files
        ]

    def names(self) -> list[str]:
        return [event.name.removeprefix("claude-") for event in self.events()]

    def meaning(self) -> str:
        evidence = Evidence(
            polecat_id="p1",
            session_no=1,
            observation=Observation(state="alive"),
            age_s=9.0,
            idle_s=1.0,
            acknowledged=True,
            ready_deadline_s=120.0,
            events=tuple(self.events()),
        )
        state = claude.vermas_agent_classify(rig=self.rig, polecat=self.polecat, evidence=evidence)
        return state.kind if state else ""

    def screen(self) -> str:
        return subprocess.run([*self.tmux, "capture-pane", "-p"], capture_output=True, text=True, timeout=10, check=False).stdout

    def pid(self) -> int:
        return int(subprocess.run([*self.tmux, "list-panes", "-F", "#{pane_pid}"], capture_output=True, check=True, timeout=10).stdout)

    def alive(self) -> bool:
        return subprocess.run([*self.tmux, "has-session"], capture_output=True, timeout=10, check=False).returncode == 0

    def type(self, *keys: str) -> None:
        subprocess.run([*self.tmux, "send-keys", *keys], check=True, timeout=10)


@pytest.fixture
def place(
    tmp_path: Path,
    vermas_rig: RigFactory,
    vermas_polecat: PolecatFactory,
    vermas_base: Callable[[Rig], str],
    service: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    rig = vermas_rig(agent="claude", options={})
    polecat = vermas_polecat(rig)
    argv = ["git", "-C", rig.yard, "worktree", "add", "-q", "-b", polecat.branch, f"{polecat.slot_dir}/{rig.name}", vermas_base(rig)]
    subprocess.run(argv, check=True, timeout=30)
    with tempfile.TemporaryDirectory(prefix="vt-") as run_dir:
        place = Place(tmp_path, rig, polecat, service.url, run_dir)
        monkeypatch.setenv("HOME", str(place.home))
        monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
        yield place
        subprocess.run([*place.tmux, "kill-server"], capture_output=True, timeout=10, check=False)


def test_it_works_dies_resumes_and_leaves(place: Place, vermas_wait: Wait) -> None:
    launch = place.start("Do this:\n[[RUN: echo hi > hi.txt && git add -A && git commit -qm 'say hi']]\n[[SAY: all good]]\n")
    vermas_wait(lambda: "stop" in place.names(), DEADLINE_S)
    assert place.names() == ["session-start", "user-prompt-submit", "stop"]
    assert place.meaning() == "waiting-input"
    assert (place.checkout / "hi.txt").read_text() == "hi\n"
    status = subprocess.run(
        ["git", "-C", place.checkout, "status", "--porcelain", "--ignored"], capture_output=True, check=True, timeout=10
    )
    assert status.stdout == b"", "nothing of the agent or of VerMAS lies in the checkout"

    os.kill(place.pid(), signal.SIGKILL)
    vermas_wait(lambda: not place.alive(), DEADLINE_S)
    again = place.start("Go on.", session_no=2, resume_token=launch.resume_token)
    assert again.resume_token == launch.resume_token
    vermas_wait(lambda: place.names().count("stop") == 2, DEADLINE_S)
    assert [event.data.get("source") for event in place.events() if event.name == "claude-session-start"] == ["startup", "resume"]

    place.type("-l", "/exit")
    vermas_wait(lambda: "/exit" in place.screen(), DEADLINE_S)
    place.type("Enter")
    vermas_wait(lambda: not place.alive(), DEADLINE_S)
    assert place.meaning() == "finished"
    used = claude.vermas_agent_usage(
        rig=place.rig,
        polecat=dataclasses.replace(place.polecat, resume_token=launch.resume_token),
        evidence=Evidence(
            polecat_id="p1", session_no=2, observation=Observation(state="gone"), age_s=1, idle_s=1, acknowledged=True, ready_deadline_s=1
        ),
    )
    assert used is not None
    assert used.output_tokens >= 40  # what Claude had not written when it was killed is lost


def test_a_huge_prompt_is_read_from_its_file(place: Place, vermas_wait: Wait) -> None:
    place.start("x" * 300_000)
    vermas_wait(lambda: "stop" in place.names(), DEADLINE_S)
    assert "Your assignment is in the file" in place.screen()


@pytest.mark.parametrize(("status", "kind"), [(400, "waiting-input"), (403, "logged-out")])
def test_a_failing_service_is_told_apart(place: Place, service: Any, vermas_wait: Wait, status: int, kind: str) -> None:
    service.fail = status
    place.start("Say something.")
    vermas_wait(lambda: "stop-failure" in place.names(), DEADLINE_S)
    assert place.meaning() == kind


def test_doctor_knows_this_home(place: Place) -> None:
    assert [check.status for check in claude.vermas_doctor(rig=place.rig) or ()] == ["ok", "ok", "ok"]
