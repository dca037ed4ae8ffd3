"""What Claude Code's own events and transcript say of a session."""

from __future__ import annotations

from vermas.hookspecs import hookimpl
from vermas.types import AgentEvent, AgentKind, AgentState, Evidence, Polecat, Rig, Usage
from vermas_agents import claude_home

NAME = "claude"

#: `error` of StopFailure: the account cannot be used until a human acts.
LOGGED_OUT = (
    "authentication_failed",
    "oauth_org_not_allowed",
    "account_on_hold",
    "verification_required",
    "billing_error",
    "cloud_credential_error",
)


@hookimpl
def vermas_agent_classify(rig: Rig, polecat: Polecat, evidence: Evidence) -> AgentState | None:
    """By the newest event that tells anything; before the first one it is starting."""
    if polecat.agent != NAME or evidence.observation.state != "alive":
        return None
    mine = [event for event in evidence.events if event.session_no == evidence.session_no and event.name.startswith("claude-")]
    for event in reversed(mine):
        told = _meaning(event)
        if told:
            return AgentState(kind=told[0], source="events", why=told[1])
    return None if evidence.acknowledged else AgentState(kind="starting", source="process", confidence=0.5)


@hookimpl
def vermas_agent_usage(rig: Rig, polecat: Polecat, evidence: Evidence) -> Usage | None:
    """The tokens of the conversation so far, by its transcript; a resumed session goes on with the same one.

    A lower bound: what a killed session had not written yet is missing."""
    path = claude_home.transcript(polecat.resume_token) if polecat.agent == NAME and polecat.resume_token else ""
    if not path:
        return None
    # An answer with several parts has several entries, each with the usage of the whole.
    answers = {}
    for entry in claude_home.entries(path):
        message = entry.get("message")
        if entry.get("type") == "assistant" and isinstance(message, dict) and isinstance(message.get("usage"), dict):
            answers[message.get("id")] = message["usage"]
    read = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return Usage(
        input_tokens=sum(_count(usage.get(name)) for usage in answers.values() for name in read),
        output_tokens=sum(_count(usage.get("output_tokens")) for usage in answers.values()),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _meaning(event: AgentEvent) -> tuple[AgentKind, str] | None:
    """What an event means from then on; None when it says nothing about that."""
    name = event.name.removeprefix("claude-")
    if name in ("session-start", "user-prompt-submit"):
        return "working", name
    if name == "stop":
        return "waiting-input", "its turn is over"
    if name == "stop-failure":
        return _failure(_text(event, "error"))
    if name == "pre-compact" and _text(event, "trigger") == "auto":
        return "context-full", "it is summarising its conversation to go on"
    if name == "session-end":
        reason = _text(event, "reason")
        return ("working", reason) if reason in ("clear", "resume") else ("finished", reason)
    return _notification(event) if name == "notification" else None


def _failure(error: str) -> tuple[AgentKind, str]:
    if error == "rate_limit":
        return "rate-limited", "its turn ended at a rate limit"
    if error in LOGGED_OUT:
        return "logged-out", f"its turn ended with {error}"
    return "waiting-input", f"its turn ended with {error or 'an error of the service'}"


def _notification(event: AgentEvent) -> tuple[AgentKind, str] | None:
    kind, message = _text(event, "notification_type"), _text(event, "message")
    if kind == "permission_prompt" or (not kind and "permission" in message):
        return "asking-permission", message
    if kind in ("idle_prompt", "elicitation_dialog") or (not kind and "waiting for your input" in message):
        return "waiting-input", message
    return None


def _text(event: AgentEvent, key: str) -> str:
    value = event.data.get(key)
    return value[:200] if isinstance(value, str) else ""
