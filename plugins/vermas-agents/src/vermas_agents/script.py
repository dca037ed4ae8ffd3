"""Any program as an agent: it is given the prompt file, the bead as JSON and the environment, and ends with `vermas done`."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vermas.errors import ConfigError
from vermas.hookspecs import hookimpl
from vermas.types import Check, Launch, LaunchFile, Polecat, Rig, to_json
from vermas_agents.prompts import as_argument

NAME = "script"
PLACEHOLDER = re.compile(r"\{(prompt_file|bead_file|bead|checkout)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`[rigs.R.options.script]`.

    `command` is the argv, run without a shell: `./x` is a file of the town's directory, `{checkout}/x` one of the project, anything else is
    looked up on PATH. `{prompt_file}`, `{bead_file}`, `{bead}` (the id) and `{checkout}` are replaced in every word.
    """

    command: tuple[str, ...] = ()
    #: Instead of `command` from the second session of a polecat on.
    resume_command: tuple[str, ...] = ()
    #: `file`: the program reads `$VERMAS_PROMPT_FILE`; `argument`: the text is the last argument; `stdin`: it is the standard input.
    prompt: Literal["file", "argument", "stdin"] = "file"
    #: `process`: ready as soon as it runs; `signal`: once it called an in-session verb.
    ready: Literal["process", "signal"] = "process"
    #: Added to the session's environment.
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("command", "resume_command"):
            words = getattr(self, name)
            if any("\0" in word for word in words) or (words and not words[0]):
                raise ValueError(f"{name} must begin with the name of a program and hold no NUL")


@hookimpl
def vermas_agent_launch(rig: Rig, role: str, polecat: Polecat, prompt_file: str, resume: bool) -> Launch | None:
    if polecat.agent != NAME:
        return None
    options: Options = rig.options.get(NAME, Options())
    command = (resume and options.resume_command) or options.command
    if not command:
        raise ConfigError(_no_command(rig))
    program = _program(rig, command[0])
    bead_file = f"{polecat.home}/bead.json"
    values = {
        "prompt_file": prompt_file,
        "bead_file": bead_file,
        "bead": polecat.bead.id,
        "checkout": f"{polecat.slot_dir}/{rig.name}",
    }
    argv = _filled((program, *command[1:]), values)
    if options.prompt == "argument":
        argv = (*argv, as_argument(prompt_file))
    return Launch(
        argv=argv,
        env={**options.env, "VERMAS_BEAD_FILE": bead_file},
        files=(LaunchFile(path=bead_file, content=json.dumps(to_json(polecat.bead), indent=2) + "\n"),),
        prompt=options.prompt,
        ready=options.ready,
    )


@hookimpl
def vermas_doctor(rig: Rig) -> list[Check] | None:
    if rig.agent != NAME:
        return None
    options: Options = rig.options.get(NAME, Options())
    if not options.command:
        return [Check(name="script agent", status="error", message=_no_command(rig), hint=_hint(rig))]
    try:
        program = _program(rig, options.command[0])
    except ConfigError as error:
        return [Check(name="script agent", status="error", message=str(error), hint=_hint(rig))]
    return [Check(name="script agent", status="ok", message=f"{rig.name} runs {program}")]


def _program(rig: Rig, word: str) -> str:
    """The program of a command; what lies in a checkout is only known once the session starts."""
    if "{checkout}" in word:
        return word
    if "/" not in word:
        if shutil.which(word) is None:
            raise ConfigError(f"the agent program {word!r} of rig {rig.name} is not on PATH; {_hint(rig)}")
        return word
    path = os.path.normpath(os.path.join(rig.town, word))
    if not os.path.isfile(path):
        raise ConfigError(f"the agent program {path} of rig {rig.name} does not exist; {_hint(rig)}")
    if not os.access(path, os.X_OK):
        raise ConfigError(f"the agent program {path} of rig {rig.name} is not executable; run: chmod +x {path}")
    return path


def _filled(words: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """One pass, so that braces in a value or in a program's own words stay what they are."""
    return tuple(PLACEHOLDER.sub(lambda match: values[match[1]], word) for word in words)


def _no_command(rig: Rig) -> str:
    return f"rig {rig.name} has the agent 'script' but no command; {_hint(rig)}"


def _hint(rig: Rig) -> str:
    return f"""set it with: vermas config set rigs.{rig.name}.options.script.command '["./agent.sh"]'"""
