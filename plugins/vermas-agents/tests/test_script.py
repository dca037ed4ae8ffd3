from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from vermas_agents import script
from vermas_agents.script import Options

from vermas.errors import ConfigError
from vermas.testing.agent_contract import PROMPT, AgentContract
from vermas.types import Bead, Rig, from_json


def program(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


class ScriptContract(AgentContract):
    plugin = script
    agent = "script"

    def rig(self, town: Path) -> Rig:
        program(town / "agent.sh")
        return super().rig(town)


class TestPromptAsFile(ScriptContract):
    options: ClassVar[dict[str, Any]] = {
        "script": Options(command=("./agent.sh", "{bead}", "{prompt_file}", "{bead_file}", "{checkout}/x"))
    }

    def test_command_line(self) -> None:
        polecat = self._polecat
        argv = (f"{self._rig.town}/agent.sh", "web-1", str(self._prompt_file), f"{polecat.home}/bead.json", f"{polecat.slot_dir}/web/x")
        assert self.launch().argv == argv

    def test_bead_file(self) -> None:
        launch = self.launch(bead=Bead(id="web-2", rig="web", title="\ud800 a lone surrogate", record={"x": [1]}))
        (file,) = launch.files
        assert launch.env["VERMAS_BEAD_FILE"] == file.path
        assert from_json(Bead, json.loads(file.content)).title == "\ud800 a lone surrogate"


class TestPromptAsArgument(ScriptContract):
    options: ClassVar[dict[str, Any]] = {"script": Options(command=("./agent.sh", "--task"), prompt="argument")}


class TestPromptOnStdin(ScriptContract):
    options: ClassVar[dict[str, Any]] = {
        "script": Options(command=("./agent.sh",), prompt="stdin", ready="signal", env={"MODE": "fast", "VERMAS_BEAD_FILE": "no"})
    }

    def test_options_arrive(self) -> None:
        launch = self.launch()
        assert (launch.prompt, launch.ready, launch.env["MODE"]) == ("stdin", "signal", "fast")
        assert launch.env["VERMAS_BEAD_FILE"] == launch.files[0].path


class TestResumeCommand(ScriptContract):
    options: ClassVar[dict[str, Any]] = {"script": Options(command=("./agent.sh",), resume_command=("./agent.sh", "--again"))}

    def test_later_sessions_have_their_own_command(self) -> None:
        assert self.launch(resume=True, session_no=2).argv[1:] == ("--again",)
        assert self.launch().argv[1:] == ()


class TestProgram(ScriptContract):
    """Where the first word is looked for."""

    options: ClassVar[dict[str, Any]] = {"script": Options(command=(sys.executable, "-c", "print('{unknown} {bead}')"))}

    def use(self, *command: str) -> None:
        self._rig = from_rig(self._rig, Options(command=command))

    def test_braces_of_others_stay(self) -> None:
        assert self.launch().argv[2] == "print('{unknown} web-1')"

    def test_name_on_path(self) -> None:
        self.use("sh", "-c", "exit 0")
        assert self.launch().argv == ("sh", "-c", "exit 0")

    def test_in_the_checkout(self) -> None:
        self.use("{checkout}/tools/agent")
        assert self.launch().argv == (f"{self._polecat.slot_dir}/web/tools/agent",)

    def test_a_directory_below_the_town(self) -> None:
        program(Path(self._rig.town, "bin/agent"))
        self.use("bin/agent")
        assert self.launch().argv == (f"{self._rig.town}/bin/agent",)

    @pytest.mark.parametrize(
        ("command", "message"),
        [
            ((), r"rig web has the agent 'script' but no command; set it with: vermas config set rigs\.web\.options\.script\.command"),
            (("no-such-program-x",), r"'no-such-program-x' of rig web is not on PATH; set it with"),
            (("./none.sh",), r"/none\.sh of rig web does not exist; set it with"),
            (("./web",), r"/web of rig web does not exist"),
            (("./plain.txt",), r"/plain\.txt of rig web is not executable; run: chmod \+x"),
        ],
    )
    def test_what_cannot_run_is_said(self, command: tuple[str, ...], message: str) -> None:
        program(Path(self._rig.town, "plain.txt"), mode=0o644)
        self.use(*command)
        with pytest.raises(ConfigError, match=message):
            self.launch()
        (check,) = script.vermas_doctor(rig=self._rig) or []
        assert check.status == "error"
        assert "config set" in check.hint

    def test_doctor_is_content(self) -> None:
        (check,) = script.vermas_doctor(rig=self._rig) or []
        assert check.status == "ok"

    def test_doctor_leaves_other_agents_alone(self) -> None:
        assert script.vermas_doctor(rig=from_rig(self._rig, Options(), agent="claude")) is None


def from_rig(rig: Rig, options: Options, **changes: Any) -> Rig:
    return dataclasses.replace(rig, options={"script": options}, **changes)


class TestRealProcess(ScriptContract):
    """The argv as the operating system takes it: no shell, no splitting."""

    options: ClassVar[dict[str, Any]] = {"script": Options(command=("./agent.sh", "a b", "$HOME;", "{bead}"), prompt="argument")}

    def rig(self, town: Path) -> Rig:
        rig = super().rig(town)
        program(town / "agent.sh", '#!/bin/sh\nprintf "<%s>" "$@"\n')
        return rig

    def test_words_arrive_unchanged(self) -> None:
        printed = subprocess.run(self.launch().argv, capture_output=True, text=True, check=True, timeout=10).stdout
        assert printed == f"<a b><$HOME;><web-1><{PROMPT.strip()}>"


@pytest.mark.parametrize("options", [{"command": ("",)}, {"command": ("a", "b\0")}, {"resume_command": ("", "x")}])
def test_commands_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must begin with the name of a program"):
        Options(**options)


def test_the_agent_of_the_readme_works(tmp_path: Path) -> None:
    readme = Path(__file__).parents[1].joinpath("README.md").read_text()
    agent = program(tmp_path / "agent.sh", readme.split("```sh\n")[1].split("```")[0])
    program(tmp_path / "bin/vermas", f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    bead_file, checkout = tmp_path / "bead.json", tmp_path / "checkout"
    bead_file.write_text(json.dumps({"title": "it's $(odd)"}))
    identity = {f"GIT_{who}_{what}": "a@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "VERMAS_BEAD_FILE": str(bead_file), "VERMAS_BEAD": "web-1", **identity}
    subprocess.run(["git", "init", "-q", str(checkout)], check=True, timeout=10)
    subprocess.run([agent], cwd=checkout, env=env, check=True, timeout=10)
    log = subprocess.run(["git", "log", "--format=%s"], cwd=checkout, capture_output=True, text=True, check=True, timeout=10).stdout
    assert log == "web-1: it's $(odd)\n"
    assert (tmp_path / "called").read_text() == "done\n"
