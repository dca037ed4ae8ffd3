"""How each hook is asked: the one table. The docstrings of `vermas.hookspecs` say the same; a test compares."""

from __future__ import annotations

from typing import Literal

Kind = Literal["exclusive", "first", "broadcast", "driver"]

KINDS: dict[str, Kind] = {
    "vermas_gate": "broadcast",
    "vermas_allocate": "first",
    "vermas_release": "broadcast",
    "vermas_sandbox_create": "exclusive",
    "vermas_sandbox_inspect": "driver",
    "vermas_sandbox_snapshot": "driver",
    "vermas_sandbox_remove": "driver",
    "vermas_agent_launch": "first",
    "vermas_agent_classify": "first",
    "vermas_agent_usage": "first",
    "vermas_session_start": "exclusive",
    "vermas_session_observe": "driver",
    "vermas_session_read": "driver",
    "vermas_session_send": "driver",
    "vermas_session_stop": "driver",
    "vermas_session_discover": "broadcast",
    "vermas_session_attach": "driver",
    "vermas_health_check": "broadcast",
    "vermas_escalate": "broadcast",
    "vermas_notify": "broadcast",
    "vermas_candidate": "exclusive",
    "vermas_verify": "broadcast",
    "vermas_land": "exclusive",
    "vermas_prime": "broadcast",
    "vermas_event": "broadcast",
    "vermas_doctor": "broadcast",
}

#: What the maker of a handle must be able to do with it; the other driver hooks are optional.
NEEDS: dict[str, tuple[str, ...]] = {
    "vermas_sandbox_create": ("vermas_sandbox_inspect", "vermas_sandbox_snapshot", "vermas_sandbox_remove"),
    "vermas_session_start": ("vermas_session_observe", "vermas_session_read", "vermas_session_stop", "vermas_session_discover"),
}

#: The shipped plugins for each exclusive hook, for the error that says that none is active.
SUGGESTED: dict[str, str] = {
    "vermas_sandbox_create": "worktree or clone",
    "vermas_session_start": "tmux or process",
    "vermas_candidate": "refinery",
    "vermas_land": "refinery",
}

#: Shipped plugins whose distribution is not called `vermas-NAME`.
SHIPPED_IN: dict[str, str] = {"clone": "vermas-worktree", "claude": "vermas-agents", "script": "vermas-agents"}


def hooks(kind: Kind) -> tuple[str, ...]:
    """The hooks of one kind, in the order of the specification."""
    return tuple(hook for hook, is_kind in KINDS.items() if is_kind == kind)
