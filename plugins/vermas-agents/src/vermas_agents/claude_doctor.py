"""What has to be in place before Claude Code can work unattended."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from vermas.errors import ConfigError
from vermas.hookspecs import hookimpl
from vermas.types import Check, Rig
from vermas_agents import claude_home
from vermas_agents.programs import find

OLDEST = (2, 1)


@hookimpl
def vermas_doctor(rig: Rig) -> list[Check] | None:
    if rig.agent != "claude":
        return None
    options = rig.options.get("claude")
    try:
        program = find(rig, options.command[0] if options else "claude", "install Claude Code")
    except ConfigError as error:
        return [Check(name="claude", status="error", message=str(error), hint="npm install -g @anthropic-ai/claude-code")]
    return [_version(program), _onboarding(claude_home.state()), _trust(rig, claude_home.state() or {})]


def _version(program: str) -> Check:
    try:
        done = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name="claude", status="error", message=f"{program} --version: {error}", hint="try it by hand")
    match = re.match(r"(\d+)\.(\d+)", done.stdout)
    if done.returncode != 0 or match is None:
        return Check(name="claude", status="error", message=f"{program} --version: exit code {done.returncode}", hint="try it by hand")
    if (int(match[1]), int(match[2])) < OLDEST:
        hint = f"npm install -g @anthropic-ai/claude-code (at least {'.'.join(map(str, OLDEST))})"
        return Check(name="claude", status="warning", message=f"Claude Code {done.stdout.strip()} is old", hint=hint)
    return Check(name="claude", status="ok", message=f"Claude Code {done.stdout.strip()}")


def _onboarding(state: dict[str, Any] | None) -> Check:
    if state is not None and state.get("hasCompletedOnboarding") is True:
        return Check(name="claude set-up", status="ok", message="Claude Code was set up for this user")
    message = "Claude Code was never set up for this user, so it would wait for answers in every session"
    return Check(name="claude set-up", status="error", message=message, hint="run `claude` once in a terminal and log in")


def _trust(rig: Rig, state: dict[str, Any]) -> Check:
    """Worktrees are trusted by their common repository, clones one by one."""
    projects = state.get("projects")
    trusted = {path for path, said in projects.items() if _accepted(said)} if isinstance(projects, dict) else set()
    if "clone" in rig.plugins:
        message = "each checkout of a rig with `clone` asks once whether it is trusted"
        return Check(
            name="claude trust", status="warning", message=message, hint="answer it with `vermas polecat attach`, or use `worktree`"
        )
    if os.path.realpath(rig.yard) in trusted or rig.yard in trusted:
        return Check(name="claude trust", status="ok", message=f"Claude Code trusts the rig {rig.name}")
    message = f"Claude Code does not trust {rig.yard} yet, so its first session would wait for an answer"
    hint = f"cd {rig.yard} && claude    (say that you trust it, then /exit); this covers all worktrees of the rig"
    return Check(name="claude trust", status="error", message=message, hint=hint)


def _accepted(said: object) -> bool:
    return isinstance(said, dict) and said.get("hasTrustDialogAccepted") is True
