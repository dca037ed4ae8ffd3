"""What every agent plugin must do: subclass `AgentContract`, name the plugin and its agent, and pytest runs the cases.

    class TestMine(AgentContract):
        plugin = my_plugin
        agent = "mine"

No agent is started here: a launch is a description, and these cases judge it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pluggy
import pytest

from vermas import hookspecs
from vermas.types import AgentEvent, AgentState, Bead, Evidence, Launch, Observation, Polecat, Rig, Slot, Usage, from_json, to_json

#: One argument may have 128 KiB on Linux, its end mark included.
ARGUMENT_BYTES = 131_071

PROMPT = "You are web/polecats/slot0.\nDo the MARKER-7c1e, then `vermas done`.\n"

#: Text of beads that a shell, an option parser or a terminal would act on.
HOSTILE = (
    "$(touch /tmp/owned)",
    "`id`; id",
    "--dangerous",
    "-rf",
    "'\"\\",
    "\x1b]0;owned\x07",
    "{prompt_file} {bead}",
    "line\nline",
    "\u202e",
    "a" * 10_000,
)

#: What only the core may say in a session's environment.
CORES = (
    "VERMAS_TOWN",
    "VERMAS_RIG",
    "VERMAS_POLECAT",
    "VERMAS_BEAD",
    "VERMAS_SESSION_NO",
    "VERMAS_SESSION",
    "VERMAS_PROMPT_FILE",
    "VERMAS_TOKEN_FILE",
)

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class AgentContract:
    """Cases for `vermas_agent_launch`, `vermas_agent_classify` and `vermas_agent_usage`.

    `plugin` is the module (or object) with the hooks, `agent` the name it answers to, `options` what `rig.options` holds, `resumes` whether
    the agent can go on with an earlier conversation. Override `rig()` when the plugin needs files (a program in the town, say), and
    `past_session()` when it looks for the conversation that it shall resume.
    """

    plugin: Any
    agent: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    resumes: ClassVar[bool] = False

    def rig(self, town: Path) -> Rig:
        """The rig of the cases in the directory `town`, which exists and is empty."""
        return Rig(
            name="web",
            town_id="abcd1234",
            town=str(town),
            path=str(town / "web"),
            yard=str(town / "web/yard.git"),
            vault=str(town / "web/repo.git"),
            run_dir=str(town / "run"),
            origin="/nowhere",
            target="main",
            prefix="web",
            check="none",
            agent=self.agent,
            max_polecats=5,
            plugins=("mine",),
            options=self.options,
        )

    def past_session(self, launch: Launch) -> None:
        """Make what a session started by `launch` would have left for its resumption."""

    @pytest.fixture(autouse=True)
    def _set_up(self, tmp_path: Path) -> None:
        town = tmp_path / "a town's $(x) {bead}"
        home = town / "web/polecats/slot0/.p1"
        (town / "web/polecats/slot0/web").mkdir(parents=True)
        home.mkdir(mode=0o700)
        self._rig = self.rig(town)
        self._polecat = Polecat(
            id="p1",
            rig="web",
            bead=Bead(id="web-1", rig="web", title="a bead", description="do it"),
            slot=Slot(name="slot0"),
            session_no=1,
            slot_dir=str(home.parent),
            home=str(home),
            branch="polecat/slot0/web-1@p1",
            agent=self.agent,
            actor="web/polecats/slot0",
        )
        self._prompt_file = home / "prompt-1.md"
        self._prompt_file.write_text(PROMPT)
        self._manager = pluggy.PluginManager("vermas")
        self._manager.add_hookspecs(hookspecs)
        self._manager.register(self.plugin)
        self._manager.check_pending()

    def ask(self, *, resume: bool = False, **changes: Any) -> Launch | None:
        """One call of the hook, as the core makes it; `changes` are fields of the polecat."""
        answer = self._manager.hook.vermas_agent_launch(
            rig=self._rig,
            role="polecat",
            polecat=dataclasses.replace(self._polecat, **changes),
            prompt_file=str(self._prompt_file),
            resume=resume,
        )
        assert answer is None or isinstance(answer, Launch), f"not a Launch or None: {answer!r}"
        return answer

    def launch(self, *, resume: bool = False, **changes: Any) -> Launch:
        """The launch that the plugin gives; fails when it gives none."""
        answer = self.ask(resume=resume, **changes)
        assert answer is not None, f"no Launch for a polecat with the agent {self.agent!r}"
        return answer

    def evidence(self, state: str = "alive", *events: AgentEvent, **changes: Any) -> Evidence:
        """Evidence of session 1 with these events."""
        observation = Observation(state=state, exit_code=1 if state == "exited" else None)  # type: ignore[arg-type]
        values: dict[str, Any] = {"age_s": 60.0, "idle_s": 5.0, "acknowledged": True, "ready_deadline_s": 120.0, **changes}
        return Evidence(polecat_id="p1", session_no=1, observation=observation, events=events, **values)

    def classify(self, evidence: Evidence, **changes: Any) -> AgentState | None:
        """One call of `vermas_agent_classify`."""
        answer = self._manager.hook.vermas_agent_classify(
            rig=self._rig, polecat=dataclasses.replace(self._polecat, **changes), evidence=evidence
        )
        assert answer is None or isinstance(answer, AgentState), f"not an AgentState or None: {answer!r}"
        return answer

    def test_answers_for_its_agent(self) -> None:
        argv = self.launch().argv
        assert argv
        assert all(isinstance(word, str) and "\0" not in word for word in argv)
        assert argv[0]

    @pytest.mark.parametrize("other", ["another", "", "{agent}-2", "{AGENT}"])
    def test_leaves_other_agents_alone(self, other: str) -> None:
        name = other.format(agent=self.agent, AGENT=self.agent.upper())
        assert self.ask(agent=name) is None
        assert self.classify(self.evidence(), agent=name) is None

    def test_pure(self, tmp_path: Path) -> None:
        def world() -> object:
            files = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tmp_path.rglob("*") if path.is_file()}
            return files, dict(os.environ), os.getcwd()

        before = world()
        assert self.launch() == self.launch()
        assert world() == before

    def test_many_threads_agree(self) -> None:
        expected = self.launch()
        with ThreadPoolExecutor(8) as pool:
            assert all(launch == expected for launch in pool.map(lambda _: self.launch(), range(40)))

    def test_json_round_trip(self) -> None:
        launch = self.launch()
        assert from_json(Launch, json.loads(json.dumps(to_json(launch)))) == launch

    def test_prompt_reaches_the_agent_in_the_declared_way_only(self) -> None:
        launch = self.launch()
        carriers = [word for word in launch.argv if "MARKER-7c1e" in word]
        assert len(carriers) == (1 if launch.prompt == "argument" else 0)
        assert launch.prompt in ("argument", "file", "stdin", "paste")
        assert all("MARKER-7c1e" not in value for value in launch.env.values())
        if carriers:
            assert carriers[0].strip() == PROMPT.strip(), "the prompt is a word of its own, not a piece of a command line"

    def test_a_huge_prompt_still_starts(self) -> None:
        self._prompt_file.write_text(PROMPT + "ö" * 1_000_000)
        launch = self.launch()
        assert all(len(os.fsencode(word)) <= ARGUMENT_BYTES for word in launch.argv)
        if launch.prompt == "argument":
            assert any(str(self._prompt_file) in word for word in launch.argv), "the agent must be told where the text is"

    @pytest.mark.parametrize(
        "text", ["--version\nfirst line", "-x", "nul \0 inside", "", "\ufeff\udc80".encode("utf-8", "replace").decode()]
    )
    def test_odd_prompts_stay_one_word(self, text: str) -> None:
        plain = self.launch()
        self._prompt_file.write_text(text)
        launch = self.launch()
        assert len(launch.argv) == len(plain.argv)
        assert all("\0" not in word for word in launch.argv)
        if launch.prompt == "argument":
            assert not launch.argv[-1].startswith("-")

    @pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
    def test_bead_text_is_never_in_the_command_line(self, text: str) -> None:
        plain = self.launch()
        bead = dataclasses.replace(self._polecat.bead, title=text, description=text, acceptance_criteria=text, labels=(text,))
        launch = self.launch(bead=bead)
        assert launch.argv == plain.argv
        assert launch.env == plain.env

    def test_files_lie_outside_the_checkout_and_are_private(self) -> None:
        checkout = Path(self._polecat.slot_dir, self._rig.name)
        for file in self.launch().files:
            path = Path(file.path)
            assert path.is_absolute()
            assert ".." not in path.parts
            assert checkout not in (path, *path.parents), f"{path} would appear in the rig's diff"
            assert path.is_relative_to(self._polecat.home), f"{path} is not in the polecat's own directory"
            assert stat.S_IMODE(file.mode) == file.mode
            assert not file.mode & 0o077
            assert path != self._prompt_file

    def test_environment(self) -> None:
        launch = self.launch()
        assert all(VARIABLE.fullmatch(name) for name in (*launch.env, *launch.secrets))
        assert all(isinstance(value, str) and "\0" not in value for value in launch.env.values())
        assert not set(CORES) & set(launch.env), "these are the core's"

    def test_secrets_travel_by_name_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = self.launch().secrets
        for name in names:
            if "DIR" not in name:
                monkeypatch.setenv(name, "s3cr3t-value-of-the-operator")
        launch = self.launch()
        assert "s3cr3t-value-of-the-operator" not in json.dumps(to_json(launch))
        assert not set(names) & set(launch.env)

    def test_readiness(self) -> None:
        launch = self.launch()
        assert launch.ready in ("process", "signal")
        assert launch.ready_deadline_s > 0

    def test_a_resume_without_a_past_starts_afresh(self) -> None:
        assert self.launch(resume=True, session_no=2, resume_token="").argv

    @pytest.mark.parametrize("token", ["--help", "../../x", "$(id)", "no-such-conversation", "a" * 5000])
    def test_a_foreign_resume_token_is_harmless(self, token: str) -> None:
        assert token not in self.launch(resume=True, session_no=2, resume_token=token).argv

    def test_resume(self) -> None:
        first = self.launch()
        assert bool(first.resume_token) == self.resumes
        self.past_session(first)
        again = self.launch(resume=True, session_no=2, resume_token=first.resume_token)
        if self.resumes:
            assert again.argv != self.launch(session_no=2).argv
            assert any(first.resume_token in word for word in again.argv)
            assert again.resume_token == first.resume_token

    def test_sessions_and_polecats_have_names_of_their_own(self) -> None:
        if self.resumes:
            tokens = {self.launch(id=name, session_no=number).resume_token for name in ("p1", "p2") for number in (1, 2)}
            assert len(tokens) == 4

    def test_unsure_is_none(self) -> None:
        assert self.classify(self.evidence("unknown")) is None
        assert self.classify(self.evidence("alive", AgentEvent(name="who-knows", age_s=1.0, session_no=1))) is None

    @pytest.mark.parametrize("state", ["alive", "exited", "gone", "unknown"])
    @pytest.mark.parametrize("data", [{}, {"message": 7, "error": None, "trigger": [], "usage": "much"}, {"reason": "\x1b[2J" * 1000}])
    def test_classify_is_pure_and_survives_odd_events(self, state: str, data: dict[str, Any]) -> None:
        names = ("", "x", f"{self.agent}-stop", f"{self.agent}-", f"{self.agent}-notification")
        events = [AgentEvent(name=name, age_s=1.0, session_no=1, data=data) for name in names]
        evidence = self.evidence(state, *events)
        assert self.classify(evidence) == self.classify(evidence)

    def test_usage_of_a_session_that_never_ran(self) -> None:
        answer = self._manager.hook.vermas_agent_usage(rig=self._rig, polecat=self._polecat, evidence=self.evidence("exited"))
        assert answer is None or isinstance(answer, Usage)
