"""Any program as an agent: it is given the prompt file, the bead as JSON and the environment, and ends with `vermas done`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vermas.errors import ConfigError
from vermas.hookspecs import hookimpl
from vermas.types import Check, Launch, LaunchFile, Polecat, Rig, to_json
from vermas_agents.programs import find
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
    bead_file = f"{polecat.home}/bead.json"
    values = {
        "prompt_file": prompt_file,
        "bead_file": bead_file,
        "bead": polecat.bead.id,
        "checkout": f"{polecat.slot_dir}/{rig.name}",
    }
    argv = (_program(rig, command[0], values), *(_filled(word, values) for word in command[1:]))
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
        program = options.command[0] if PLACEHOLDER.search(options.command[0]) else find(rig, options.command[0], _hint(rig))
    except ConfigError as error:
        return [Check(name="script agent", status="error", message=str(error), hint=_hint(rig))]
    return [Check(name="script agent", status="ok", message=f"{rig.name} runs {program}")]


def _program(rig: Rig, word: str, values: Mapping[str, str]) -> str:
    """What lies in a checkout is left for the start itself to find."""
    return _filled(word, values) if PLACEHOLDER.search(word) else find(rig, word, _hint(rig))


def _filled(word: str, values: Mapping[str, str]) -> str:
    """One pass, so that braces in a value or of the program's own stay what they are."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], word)


def _no_command(rig: Rig) -> str:
    return f"rig {rig.name} has the agent 'script' but no command; {_hint(rig)}"


def _hint(rig: Rig) -> str:
    return f"""set it with: vermas config set rigs.{rig.name}.options.script.command '["./agent.sh"]'"""
