from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any, ClassVar

import pytest
from vermas_agents import claude
from vermas_agents.claude import Options

from vermas.errors import ConfigError
from vermas.testing.agent_contract import AgentContract
from vermas.types import AgentEvent, Evidence, Launch, Rig

PROJECT = "-somewhere-web"


class ClaudeContract(AgentContract):
    """With a home of its own and a `claude` that only knows its version."""

    plugin = claude
    agent = "claude"
    resumes = True
    command = "./claude"

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = tmp_path / "home"
        self.home.mkdir()
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)

    def rig(self, town: Path) -> Rig:
        program = town / "claude"
        program.write_text("#!/bin/sh\necho '2.1.329 (Claude Code)'\n")
        program.chmod(0o755)
        return super().rig(town)

    def past_session(self, launch: Launch) -> None:
        self.transcript(launch.resume_token, "")

    def transcript(self, session_id: str, text: str) -> None:
        path = self.home / ".claude/projects" / PROJECT / f"{session_id}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class TestClaude(ClaudeContract):
    options: ClassVar[dict[str, Any]] = {"claude": Options(command=("./claude",))}

    def use(self, **options: Any) -> None:
        self._rig = dataclasses.replace(self._rig, options={"claude": Options(**{"command": ("./claude",), **options})})

    def test_command_line(self) -> None:
        launch = self.launch()
        argv = list(launch.argv)
        assert argv[0] == f"{self._rig.town}/claude"
        assert argv[1:3] == ["--settings", f"{self._polecat.home}/claude-settings.json"]
        assert argv[3:5] == ["--session-id", launch.resume_token]
        assert argv[5] == "--dangerously-skip-permissions"
        assert argv[6] == "--"
        assert argv[7].startswith("You are")
        assert len(argv) == 8
        assert str(uuid.UUID(launch.resume_token)) == launch.resume_token
        assert (launch.ready, launch.ready_deadline_s) == ("signal", 120.0)

    def test_options(self) -> None:
        self.use(model="opus", skip_permissions=False, args=("--add-dir", "/x"), env={"A": "b"}, ready_deadline_s=300.0)
        launch = self.launch()
        assert launch.argv[5:-1] == ("--model", "opus", "--add-dir", "/x", "--")
        assert launch.env == {"DISABLE_AUTOUPDATER": "1", "A": "b"}
        assert launch.ready_deadline_s == 300.0

    def test_root_is_told_to_claude(self) -> None:
        assert self.launch().env.get("IS_SANDBOX") == ("1" if os.geteuid() == 0 else None)

    def test_resume_needs_the_conversation(self) -> None:
        """Claude refuses to resume what it does not know: a session killed before its first answer starts afresh."""
        first = self.launch()
        afresh = self.launch(resume=True, session_no=2, resume_token=first.resume_token)
        assert "--resume" not in afresh.argv
        assert afresh.resume_token != first.resume_token
        self.past_session(first)
        assert self.launch(resume=True, session_no=2, resume_token=first.resume_token).argv[3:5] == ("--resume", first.resume_token)

    def test_resume_looks_where_claude_writes(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        first = self.launch()
        self.past_session(first)
        monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "[other]"))
        assert "--resume" not in self.launch(resume=True, session_no=2, resume_token=first.resume_token).argv
        (tmp_path / "[other]/projects/x").mkdir(parents=True)
        (tmp_path / f"[other]/projects/x/{first.resume_token}.jsonl").touch()
        assert "--resume" in self.launch(resume=True, session_no=2, resume_token=first.resume_token).argv

    def test_settings_call_signal_with_fixed_words(self) -> None:
        (file,) = self.launch().files
        hooks = json.loads(file.content)["hooks"]
        commands = {name: groups[0]["hooks"][0]["command"] for name, groups in hooks.items()}
        assert commands["Stop"] == "vermas signal claude-stop >/dev/null 2>&1 || exit 0"
        assert commands["SessionStart"] == "vermas signal claude-session-start --stdin >/dev/null 2>&1 || exit 0"
        assert commands["StopFailure"] == "vermas signal claude-stop-failure --stdin >/dev/null 2>&1 || exit 0"
        assert set(commands) == set(claude.HOOKS)

    def test_a_hook_that_fails_or_talks_does_not_reach_claude(self, tmp_path: Path) -> None:
        (tmp_path / "vermas").write_text("#!/bin/sh\necho out\necho err >&2\nexit 2\n")
        (tmp_path / "vermas").chmod(0o755)
        hooks = json.loads(self.launch().files[0].content)["hooks"]
        for groups in hooks.values():
            command = ["sh", "-c", groups[0]["hooks"][0]["command"]]
            for path in (f"{tmp_path}:{os.environ['PATH']}", "/usr/bin:/bin"):
                done = subprocess.run(command, env={"PATH": path}, capture_output=True, input=b"{}", timeout=10, check=False)
                assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    def test_a_missing_program_is_said(self) -> None:
        self.use(command=("no-such-claude",))
        with pytest.raises(ConfigError, match="'no-such-claude' of rig web is not on PATH; install it with: npm install"):
            self.launch()
        (check,) = claude.vermas_doctor(rig=self._rig) or []
        assert (check.status, check.hint) == ("error", "npm install -g @anthropic-ai/claude-code")

    @pytest.mark.parametrize(
        ("events", "kind"),
        [
            ([("session-start", {"source": "startup"})], "working"),
            ([("session-start", {}), ("user-prompt-submit", {})], "working"),
            ([("user-prompt-submit", {}), ("stop", {})], "waiting-input"),
            ([("stop", {}), ("user-prompt-submit", {})], "working"),
            ([("user-prompt-submit", {}), ("notification", {"notification_type": "permission_prompt"})], "asking-permission"),
            ([("notification", {"message": "Claude needs your permission to use Bash"})], "asking-permission"),
            ([("stop", {}), ("notification", {"notification_type": "idle_prompt"})], "waiting-input"),
            ([("notification", {"message": "Claude is waiting for your input"})], "waiting-input"),
            ([("user-prompt-submit", {}), ("notification", {"notification_type": "auth_success"})], "working"),
            ([("user-prompt-submit", {}), ("pre-compact", {"trigger": "auto"})], "context-full"),
            ([("user-prompt-submit", {}), ("pre-compact", {"trigger": "manual"})], "working"),
            ([("pre-compact", {"trigger": "auto"}), ("session-start", {"source": "compact"})], "working"),
            ([("user-prompt-submit", {}), ("stop-failure", {"error": "rate_limit"})], "rate-limited"),
            ([("user-prompt-submit", {}), ("stop-failure", {"error": "authentication_failed"})], "logged-out"),
            ([("user-prompt-submit", {}), ("stop-failure", {"error": "billing_error"})], "logged-out"),
            ([("user-prompt-submit", {}), ("stop-failure", {"error": "overloaded"})], "waiting-input"),
            ([("stop", {}), ("session-end", {"reason": "prompt_input_exit"})], "finished"),
            ([("stop", {}), ("session-end", {"reason": "clear"})], "working"),
            ([("something-new", {})], None),
        ],
    )
    def test_classify(self, events: list[tuple[str, dict[str, str]]], kind: str | None) -> None:
        told = [AgentEvent(name=f"claude-{name}", age_s=1.0, session_no=1, data=data) for name, data in events]
        state = self.classify(self.evidence("alive", *told))
        assert (state.kind if state else None) == kind

    def test_before_the_first_event_it_is_starting(self) -> None:
        state = self.classify(self.evidence("alive", acknowledged=False))
        assert state is not None
        assert (state.kind, state.source) == ("starting", "process")

    def test_events_of_earlier_sessions_do_not_count(self) -> None:
        assert self.classify(self.evidence("alive", AgentEvent(name="claude-stop", age_s=1.0, session_no=0))) is None

    @pytest.mark.parametrize("state", ["exited", "gone", "unknown"])
    def test_a_dead_agent_is_in_no_state(self, state: str) -> None:
        assert self.classify(self.evidence(state, AgentEvent(name="claude-stop", age_s=1.0, session_no=1))) is None

    def usage(self) -> Any:
        token = self.launch().resume_token
        polecat = dataclasses.replace(self._polecat, resume_token=token)
        evidence: Evidence = self.evidence("exited")
        return claude.vermas_agent_usage(rig=self._rig, polecat=polecat, evidence=evidence)

    def test_usage_is_the_transcripts(self) -> None:
        def answer(name: str, **usage: Any) -> dict[str, Any]:
            return {"type": "assistant", "message": {"id": name, "usage": usage}}

        first = answer("m1", input_tokens=10, cache_read_input_tokens=5, cache_creation_input_tokens=1, output_tokens=3)
        entries: list[Any] = [
            {"type": "user", "message": {"content": "hi"}},
            first,
            first,
            7,
            answer("m2", input_tokens="?", output_tokens=2),
            {"type": "assistant", "message": None},
        ]
        self.transcript(self.launch().resume_token, "\n".join(map(json.dumps, entries)) + '\n{"type": "assis')
        usage = self.usage()
        assert (usage.input_tokens, usage.output_tokens, usage.cost_usd) == (16, 5, None)

    def test_no_transcript_no_usage(self) -> None:
        assert self.usage() is None

    def doctor(self) -> dict[str, str]:
        return {check.name: check.status for check in claude.vermas_doctor(rig=self._rig) or []}

    def state(self, text: str) -> None:
        (self.home / ".claude.json").write_text(text)

    def test_doctor_of_a_fresh_user(self) -> None:
        assert self.doctor() == {"claude": "ok", "claude set-up": "error", "claude trust": "error"}

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"projects": 1}', '{"projects": {"/x": null}}'])
    def test_doctor_of_a_broken_state(self, text: str) -> None:
        self.state(text)
        assert self.doctor() == {"claude": "ok", "claude set-up": "error", "claude trust": "error"}

    def test_doctor_of_a_ready_user(self) -> None:
        self.state(json.dumps({"hasCompletedOnboarding": True, "projects": {self._rig.yard: {"hasTrustDialogAccepted": True}}}))
        assert self.doctor() == {"claude": "ok", "claude set-up": "ok", "claude trust": "ok"}

    def test_doctor_of_a_rig_with_clones(self) -> None:
        self._rig = dataclasses.replace(self._rig, plugins=("slots", "clone"))
        assert self.doctor()["claude trust"] == "warning"

    @pytest.mark.parametrize(("text", "status"), [("echo 1.0.99", "warning"), ("echo huh", "error"), ("exit 3", "error")])
    def test_doctor_of_a_strange_program(self, text: str, status: str) -> None:
        Path(self._rig.town, "claude").write_text(f"#!/bin/sh\n{text}\n")
        assert self.doctor()["claude"] == status

    def test_doctor_leaves_other_agents_alone(self) -> None:
        assert claude.vermas_doctor(rig=dataclasses.replace(self._rig, agent="script")) is None


@pytest.mark.parametrize("options", [{"command": ()}, {"command": ("",)}, {"ready_deadline_s": 0.0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"command|ready_deadline_s"):
        Options(**options)
