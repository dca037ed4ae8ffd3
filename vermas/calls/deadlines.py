"""How long each hook may take. Past its deadline a call is abandoned, not ended: its thread goes on and its effect is *unknown*.

| class | hooks | deadline |
|---|---|---|
| decision: pure, from what is passed in | gate, allocate, agent_*, health_check, escalate, prime, event, release | 5 s |
| look: asks a back end | observe, read, attach: 10 s; inspect, discover, send, notify: 30 s; doctor, verify | 60 s |
| effect | start, stop (beside its grace): 120 s; snapshot, remove, candidate: 300 s; create, land | 600 s |
"""

from __future__ import annotations

DEADLINES_S: dict[str, float] = {
    "vermas_gate": 5,
    "vermas_allocate": 5,
    "vermas_release": 5,
    "vermas_sandbox_create": 600,
    "vermas_sandbox_inspect": 30,
    "vermas_sandbox_snapshot": 300,
    "vermas_sandbox_remove": 300,
    "vermas_agent_launch": 5,
    "vermas_agent_classify": 5,
    "vermas_agent_usage": 5,
    "vermas_session_start": 120,
    "vermas_session_observe": 10,
    "vermas_session_read": 10,
    "vermas_session_send": 30,
    "vermas_session_stop": 120,
    "vermas_session_discover": 30,
    "vermas_session_attach": 10,
    "vermas_health_check": 5,
    "vermas_escalate": 5,
    "vermas_notify": 30,
    "vermas_candidate": 300,
    "vermas_verify": 60,
    "vermas_land": 600,
    "vermas_prime": 5,
    "vermas_event": 5,
    "vermas_doctor": 60,
}

#: After a missed deadline these are not asked again for *any* subject until that call ends: they are asked so often that one hanging
#: plugin would otherwise cost its deadline for every polecat. All others are held back for the same subject only.
HELD_BACK_FOR_ALL = frozenset(hook for hook, deadline_s in DEADLINES_S.items() if deadline_s <= 5) | {
    "vermas_notify",
    "vermas_session_observe",
}
