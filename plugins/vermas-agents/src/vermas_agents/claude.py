"""Claude Code as an agent: started in its full-screen form with the prompt as argument, watched through its own hooks.

Nothing is written in the checkout or in Claude's own configuration: a settings file beside the prompt names the hooks, each of which
calls `vermas signal` with fixed words.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from vermas.hookspecs import hookimpl
from vermas.types import Launch, LaunchFile, Polecat, Rig
from vermas_agents import claude_home
from vermas_agents.claude_doctor import vermas_doctor
from vermas_agents.claude_events import vermas_agent_classify, vermas_agent_usage
from vermas_agents.programs import find
from vermas_agents.prompts import as_argument

__all__ = ["Options", "vermas_agent_classify", "vermas_agent_launch", "vermas_agent_usage", "vermas_doctor"]

NAME = "claude"
INSTALL = "install it with: npm install -g @anthropic-ai/claude-code"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: Variables of the operator's environment that say which account and which service to use.
SECRETS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_MODEL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CONFIG_DIR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "NODE_EXTRA_CA_CERTS",
)

#: Claude's hooks, and whether what they are told is kept: prompts and answers are not.
HOOKS = {
    "SessionStart": True,
    "UserPromptSubmit": False,
    "Notification": True,
    "PreCompact": True,
    "Stop": False,
    "StopFailure": True,
    "SessionEnd": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`[rigs.R.options.claude]`."""

    #: The program and words that come first.
    command: tuple[str, ...] = ("claude",)
    #: A model's name or alias; empty: Claude's own choice.
    model: str = ""
    #: Without it Claude asks before it runs commands, and somebody has to answer (`vermas polecat attach`).
    skip_permissions: bool = True
    #: Further words of the command line, before the prompt.
    args: tuple[str, ...] = ()
    #: Added to the session's environment.
    env: Mapping[str, str] = field(default_factory=dict)
    #: How long a session may take until its SessionStart hook has run. Ten that start together need ten times as long as one.
    ready_deadline_s: float = 120.0

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise ValueError("command must not be empty")
        if self.ready_deadline_s <= 0:
            raise ValueError(f"ready_deadline_s must be positive, it is {self.ready_deadline_s:g}")


@hookimpl
def vermas_agent_launch(rig: Rig, role: str, polecat: Polecat, prompt_file: str, resume: bool) -> Launch | None:
    if polecat.agent != NAME:
        return None
    options: Options = rig.options.get(NAME, Options())
    settings = f"{polecat.home}/claude-settings.json"
    known = resume and UUID.fullmatch(polecat.resume_token) and claude_home.transcript(polecat.resume_token)
    session_id = polecat.resume_token if known else _session_id(rig, polecat)
    argv = (
        find(rig, options.command[0], INSTALL),
        *options.command[1:],
        "--settings",
        settings,
        *(("--resume", session_id) if known else ("--session-id", session_id)),
        *(("--dangerously-skip-permissions",) if options.skip_permissions else ()),
        *(("--model", options.model) if options.model else ()),
        *options.args,
        "--",  # an option with several values must not take the prompt for one of them
        as_argument(prompt_file),
    )
    return Launch(
        argv=argv,
        env={"DISABLE_AUTOUPDATER": "1", **_root(options), **options.env},
        secrets=SECRETS,
        files=(LaunchFile(path=settings, content=json.dumps(_settings(), indent=2) + "\n"),),
        prompt="argument",
        ready="signal",
        ready_deadline_s=options.ready_deadline_s,
        resume_token=session_id,
    )


def _session_id(rig: Rig, polecat: Polecat) -> str:
    """A name of its own for each session, the same whenever this one is asked for."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"vermas:{rig.town_id}/{polecat.id}/{polecat.session_no}"))


def _root(options: Options) -> dict[str, str]:
    """Claude refuses to skip permissions as root unless it is told that the machine is a sandbox."""
    return {"IS_SANDBOX": "1"} if options.skip_permissions and os.geteuid() == 0 else {}


def _settings() -> dict[str, object]:
    return {
        "skipDangerousModePermissionPrompt": True,
        "hooks": {hook: [{"hooks": [{"type": "command", "command": _command(hook, kept), "timeout": 20}]}] for hook, kept in HOOKS.items()},
    }


def _command(hook: str, kept: bool) -> str:
    """Exit code 2 of a hook would block what Claude is doing, so failing to signal is never a failure."""
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", hook).lower()
    return f"vermas signal claude-{word}{' --stdin' if kept else ''} >/dev/null 2>&1 || exit 0"
