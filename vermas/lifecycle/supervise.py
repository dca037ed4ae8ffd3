"""Evidence → findings → the strongest step → the core acts, once per finding and session, and records why."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace

from vermas.errors import Unsupported
from vermas.lifecycle import observe
from vermas.lifecycle.site import Site, session_of
from vermas.lifecycle.spawn import SessionPaths
from vermas.store import polecats
from vermas.types import ACTIONS, Evidence, Finding, History, Observation, PastStep, Polecat, Step


def judge(site: Site, row: sqlite3.Row, session: sqlite3.Row, seen: Observation) -> bool:
    """Ask the policies about a polecat's present session and act; True when anything was done."""
    polecat = site.polecat(row)
    found = observe.evidence(site, row, polecat, session, seen)
    agent = site.hooks.agent_classify(polecat, found)
    if agent is not None:
        found = replace(found, agent=agent)
    acted = False
    findings = site.hooks.health_check(polecat, found, time.time())
    for finding in findings:
        if not _judged(site, row, finding):
            acted = _act(site, row, session, polecat, finding, found) or acted
    if not findings and session["state"] == "ended" and not acted:
        acted = _unwatched(site, row, found)
    return acted


def history(site: Site, row: sqlite3.Row) -> History:
    """What the store remembers of starts and steps."""
    db = site.store.read
    past = tuple(
        PastStep(
            action=step["action"],
            finding=step["finding"],
            session_no=step["session_no"],
            age_s=polecats.age_s(step["boot_id"], step["mono"]),
            called_human=bool(step["called_human"]),
        )
        for step in polecats.steps(db, row["id"])
    )
    return History(starts_s=tuple(polecats.starts(db, row["id"])), bead_starts=polecats.bead_starts(db, row["bead_id"]), steps=past)


def _judged(site: Site, row: sqlite3.Row, finding: Finding) -> bool:
    return any(
        step["session_no"] == row["session_no"] and step["finding"] == finding.kind for step in polecats.steps(site.store.read, row["id"])
    )


def _act(site: Site, row: sqlite3.Row, session: sqlite3.Row, polecat: Polecat, finding: Finding, found: Evidence) -> bool:
    answers = site.hooks.escalate(polecat, finding, history(site, row), time.time())
    if answers:
        step = max(answers, key=lambda answer: ACTIONS.index(answer.action))
        human = any(answer.call_human for answer in answers)
    else:
        step, human = Step(action="note", why=f"no policy has a step for {finding.kind!r}"), True
    with site.store.write() as db:
        if not polecats.record_step(db, row["id"], row["session_no"], finding=finding.kind, action=step.action, called_human=human):
            return False
        seen = found.observation
        site.record(
            db,
            "step",
            row,
            finding=finding.kind,
            why=finding.why,
            by=finding.plugin,
            action=step.action,
            because=step.why,
            exit_code=seen.exit_code,
            signal=seen.signal,
            age_s=round(found.age_s, 1),
        )
        _want(db, row, step, over=session["state"] == "ended")
        if human:
            why = step.why if finding.why in step.why else f"{finding.why}\n{step.why}"
            body = f"{why}\nLook: vermas why {row['id']}   Go on: vermas polecat restart {row['id']}"
            site.call_human(db, row, key=finding.kind, severity=finding.severity, title=f"{row['bead_id']}: {finding.kind}", body=body)
    if step.action == "nudge":
        nudge(site, row, step.text or step.why, f"{row['id']}-{row['session_no']}-{finding.kind}")
    return True


def _want(db: sqlite3.Connection, row: sqlite3.Row, step: Step, *, over: bool) -> None:
    if step.action in ("restart", "handoff"):
        polecats.update(
            db,
            row["id"],
            restart=1,
            brief=step.text or row["brief"],
            hold_boot=polecats.boot_id(),
            hold_mono=time.monotonic() + step.delay_s,
        )
    elif step.action == "pause" or over:  # nothing will ever happen again in a session that is over
        polecats.update(db, row["id"], want="stop", reason=step.why)


def _unwatched(site: Site, row: sqlite3.Row, found: Evidence) -> bool:
    why = "its session is over and no policy of the rig says what to do"
    with site.store.write() as db:
        polecats.update(db, row["id"], want="stop", reason=why)
        site.record(db, "stalled", row, why=why, exit_code=found.observation.exit_code)
        site.call_human(db, row, key="stalled", severity="medium", title=f"{row['bead_id']}: stalled", body=why)
    return True


def prompt(site: Site, row: sqlite3.Row, session: sqlite3.Row) -> bool:
    """Paste the first prompt into an agent that takes it so, once it is known to read; True when that was done now."""
    if session["delivery"] != "paste" or session["prompted"] or session["acked_mono"] is None:
        return False
    with open(SessionPaths(site.polecat(row)).prompt, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    nudge(site, row, text, f"{row['id']}-{row['session_no']}-prompt")
    with site.store.write() as db:
        polecats.update_session(db, row["id"], row["session_no"], prompted=1)
    return True


def nudge(site: Site, row: sqlite3.Row, text: str, key: str) -> None:
    """Send a message to the present session and record the receipt."""
    session = polecats.session(site.store.read, row["id"], row["session_no"])
    handle = session_of(session) if session is not None else None
    if handle is None:
        return
    try:
        receipt = site.hooks.session_send(handle, text, key)
    except Unsupported as error:
        site.note("nudge", row, state="rejected", why=str(error) or "this runtime cannot send", key=key)
        return
    site.note("nudge", row, state=receipt.state, why=receipt.why, key=key)
