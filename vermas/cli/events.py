"""One event as one line for people."""

from __future__ import annotations

import time

from vermas.cli.output import one_line
from vermas.cli.printed import Printed
from vermas.types import Event

#: What each kind of event says; `{…}` are keys of its data.
_SENTENCES = {
    "rig-added": "added, lands on {target}",
    "claimed": "claimed, in {slot}",
    "sandbox-made": "sandbox ready ({driver})",
    "session-decided": "session {session} decided",
    "session-started": "session started ({driver})",
    "session-start-failed": "could not start: {why}",
    "session-ended": "session ended",
    "submitted": "submitted {commit:.12}",
    "candidate": "merged on {base:.12} for the check",
    "green": "checks passed",
    "landed": "landed as {sha:.12} on {target} {note}",
    "rework": "back to work ({state}): {why}",
    "requeued": "to be merged again: {why}",
    "held": "not landed: {why}",
    "landing-delayed": "landing tried again in {retry_in_s:.0f} s: {why}",
    "no-change": "closed without a change: {why}",
    "escalated": "its agent asks for a human: {why}",
    "deferred": "deferred: {why}",
    "handoff": "handed over to the next session",
    "step": "{finding}: {why} → {action}",
    "stalled": "stalled: {why}",
    "nudge": "nudged: {state} {why}",
    "rescued": "work kept in the vault: {commit:.12}",
    "destroyed": "work destroyed, as told",
    "freed": "{slot} is free ({outcome})",
    "sandbox-lost": "the checkout is gone: {why}",
    "effect-failed": "failed, tried again in {retry_in_s:.0f} s: {why}",
    "incident-opened": "a human is needed: {title}",
    "incident-notified": "a human was told",
    "plugin-failed": "{hook} of {plugin} ({distribution} {version}): {error}; {fix}",
    "asked": "{by}: {want}",
}


#: Keys that hold several lines of somebody's output.
_OUTPUT = ("tail", "log", "traceback")


def sentence(event: Event) -> str:
    """What happened, without who and when. Foreign text is made harmless."""
    template = _SENTENCES.get(event.kind)
    if template is None:
        return one_line(f"{event.kind} {_pairs(event)}".rstrip())
    try:
        text = template.format_map(
            {key: value if isinstance(value, (int, float)) else str(value or "") for key, value in event.data.items()}
        )
    except (KeyError, ValueError, IndexError):
        text = f"{event.kind} {_pairs(event)}"
    if event.kind == "session-ended":
        text += _ending(event)
    return one_line(text).rstrip("; ")


def line(event: Event) -> str:
    """The whole line of a log: time, rig, polecat or bead, what happened."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.at))
    who = event.polecat_id or "-"
    return f"{clock}  {one_line(event.rig):<10}  {who:<5}  {one_line(event.bead_id):<12}  {sentence(event)}"


def evidence(event: Event) -> list[str]:
    """What an event knows beyond its sentence, a line each; the end of an agent's output as it was printed."""
    said = sentence(event)
    rest = {key: value for key, value in event.data.items() if key not in _OUTPUT and value not in ("", None, [], {})}
    pairs = [f"{key}={value}" for key, value in rest.items() if one_line(str(value)) not in said]
    lines = [one_line("  ".join(pairs))] if pairs else []
    for key in _OUTPUT:
        printed = str(event.data.get(key) or "").encode("utf-8", "replace")
        lines += [f"| {shown}" for shown in Printed().text(printed, last=True).rstrip("\n").split("\n") if printed]
    return lines


def _ending(event: Event) -> str:
    data = event.data
    how = f", code {data['code']}" if data.get("code") is not None else f", signal {data['signal']}" if data.get("signal") else ""
    why = f", {data['why']}" if data.get("why") else ""
    return how + why + (f", stopped: {data['stopped_by']}" if data.get("stopped_by") else "")


def _pairs(event: Event) -> str:
    return " ".join(f"{key}={value}" for key, value in event.data.items() if value not in ("", None))
