"""From a submission to the target branch: candidate, verdicts, push. One submission of a rig at a time.

The states of a submission are `queued → checking → green → landed`, and the ways back: `conflict` and `red` go to the same polecat,
`held` waits for a human. `green` is written, with the record of what passed, before the target is touched.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass

from vermas.calls import PluginFailure
from vermas.lifecycle.prompt import fenced
from vermas.lifecycle.site import Site
from vermas.store import beads, polecats, submissions
from vermas.types import Candidate, Submission, Verdict, from_json, to_json

_FAILURES = 3
_RETRY_S = 2.0
_RETRY_MOST_S = 60.0
_CHECK_POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Nothing to do before `seconds` have passed (None: before something changes)."""

    seconds: float | None = None
    pids: tuple[int, ...] = ()


def advance(site: Site) -> Waiting | None:
    """One effect for the rig's present submission; None when there was one, so that there may be another."""
    rows = submissions.waiting(site.store.read, site.rig.name)
    if not rows:
        return Waiting()
    row = rows[0]
    pause = _retry_in_s(row)
    if pause > 0:
        return Waiting(seconds=pause)
    step = {"queued": _build, "checking": _verify, "green": _land}[row["state"]]
    try:
        return step(site, row, _submission(row))
    except PluginFailure as failure:
        return _failed(site, row, failure)


def _build(site: Site, row: sqlite3.Row, submission: Submission) -> Waiting | None:
    candidate = site.hooks.candidate(submission)
    if candidate.kind == "noop":
        _landed(site, row, candidate.base, "already contained in the target")
    elif candidate.kind == "conflict":
        files = "\n".join(candidate.files)
        text = f"Your work conflicts with what landed since on {submission.target}. Conflicting files:\n\n{fenced(files)}"
        _rework(site, row, "conflict", f"conflicts in {', '.join(candidate.files)}", text, candidate.base)
    else:
        with site.store.write() as db:
            submissions.update(db, row["id"], state="checking", candidate=json.dumps(to_json(candidate)), failures=0)
            _record(site, db, row, "candidate", commit=candidate.commit, tree=candidate.tree, base=candidate.base)
    return None


def _verify(site: Site, row: sqlite3.Row, submission: Submission) -> Waiting | None:
    candidate = from_json(Candidate, json.loads(row["candidate"]))
    verdicts = site.hooks.verify(candidate)
    if row["failures"]:
        with site.store.write() as db:
            submissions.update(db, row["id"], failures=0)
    if any(verdict.kind == "fail" for verdict in verdicts):
        reasons = "\n".join(reason for verdict in verdicts if verdict.kind == "fail" for reason in verdict.reasons)
        text = f"The rig's check failed on your work merged with {submission.target}. Mend it and run `vermas done` again."
        _rework(site, row, "red", _last_line(reasons), f"{text}\n\n{fenced(reasons)}", candidate.base)
        return None
    if any(verdict.kind == "needs-human" for verdict in verdicts):
        _hold(site, row, "; ".join(reason for verdict in verdicts for reason in verdict.reasons))
        return None
    running = [verdict for verdict in verdicts if verdict.kind == "running"]
    if running:
        return Waiting(seconds=_CHECK_POLL_S, pids=tuple(verdict.wait_pid for verdict in running if verdict.wait_pid))
    if not verdicts and site.rig.check != "none":
        _hold(site, row, 'no verifier of this rig gave a verdict: set `check`, or `check = "none"` to land without one')
        return None
    _green(site, row, candidate, verdicts)
    return None


def _green(site: Site, row: sqlite3.Row, candidate: Candidate, verdicts: list[Verdict]) -> None:
    config = ",".join(sorted(f"{verdict.plugin}:{verdict.config_hash}" for verdict in verdicts)) or "none"
    with site.store.write() as db:
        submissions.record_pass(db, row["id"], tree=candidate.tree, base=candidate.base, config_hash=config)
        submissions.update(db, row["id"], state="green", failures=0)
        logs = [verdict.log for verdict in verdicts if verdict.log]
        _record(site, db, row, "green", tree=candidate.tree, base=candidate.base, config=config, logs=logs)


def _land(site: Site, row: sqlite3.Row, submission: Submission) -> Waiting | None:
    candidate = from_json(Candidate, json.loads(row["candidate"]))
    if not submissions.passed(site.store.read, row["id"], tree=candidate.tree, base=candidate.base):
        _requeue(site, row, "no pass is on record for this tree and base")
        return None
    landing = site.hooks.land(candidate)
    if landing.kind == "landed":
        site.target.moved(landing.sha)
        _landed(site, row, landing.sha, "")
    elif landing.kind == "moved":
        _requeue(site, row, f"{submission.target} moved")
    elif landing.kind == "rejected":
        _hold(site, row, landing.log)
    else:
        delay = min(_RETRY_MOST_S, landing.retry_after_s * 2 ** min(row["failures"], 10))
        _later(site, row, delay, landing.log)
        return Waiting(seconds=delay)
    return None


def _landed(site: Site, row: sqlite3.Row, sha: str, note: str) -> None:
    with site.store.write() as db:
        submissions.update(db, row["id"], state="landed", landed_sha=sha, ended_at=time.time(), reasons=note)
        beads.set_status(db, row["bead_id"], "closed", close_reason=f"landed as {sha[:12]} on {row['target']}")
        polecats.update(db, row["polecat_id"], want="gone", outcome="landed", reason="landed")
        _record(site, db, row, "landed", sha=sha, target=row["target"], commit=row["commit_sha"], note=note)


def _rework(site: Site, row: sqlite3.Row, state: str, why: str, text: str, base: str) -> None:
    """Back to the same polecat with the reason, unless that has happened too often."""
    if row["attempt"] >= site.max_attempts:
        _hold(site, row, f"{why} (attempt {row['attempt']} of {site.max_attempts})", state=state)
        return
    with site.store.write() as db:
        submissions.update(db, row["id"], state=state, reasons=why, ended_at=time.time())
        polecats.update(db, row["polecat_id"], submitted=0, restart=1, brief=text, merge_sha=base, hold_boot="", hold_mono=0)
        _record(site, db, row, "rework", state=state, why=why, attempt=row["attempt"], base=base)


def _hold(site: Site, row: sqlite3.Row, why: str, *, state: str = "held") -> None:
    with site.store.write() as db:
        submissions.update(db, row["id"], state=state, reasons=why, ended_at=time.time())
        polecats.update(db, row["polecat_id"], want="stop", submitted=0, reason=f"not landed: {_last_line(why)}")
        _record(site, db, row, "held", why=why)
        polecat = polecats.get(db, row["polecat_id"])
        if polecat is not None:
            body = f"{why}\nLook: vermas why {row['bead_id']}   Try again: vermas polecat restart {row['polecat_id']}"
            site.call_human(db, polecat, key=f"held-{row['id']}", severity="high", title=f"{row['bead_id']}: not landed", body=body)


def _requeue(site: Site, row: sqlite3.Row, why: str) -> None:
    with site.store.write() as db:
        submissions.update(db, row["id"], state="queued", candidate="")
        _record(site, db, row, "requeued", why=why)


def _later(site: Site, row: sqlite3.Row, delay_s: float, why: str) -> None:
    with site.store.write() as db:
        submissions.update(
            db, row["id"], retry_boot=polecats.boot_id(), retry_mono=time.monotonic() + delay_s, failures=row["failures"] + 1
        )
        _record(site, db, row, "landing-delayed", why=why, retry_in_s=delay_s)
        polecat = polecats.get(db, row["polecat_id"])
        if row["failures"] + 1 == _FAILURES and polecat is not None:  # it goes on trying
            title = f"{row['bead_id']}: landing fails again and again"
            site.call_human(db, polecat, key=f"delayed-{row['id']}", severity="medium", title=title, body=why)


def _failed(site: Site, row: sqlite3.Row, failure: PluginFailure) -> Waiting | None:
    if row["failures"] + 1 >= _FAILURES:
        _hold(site, row, str(failure))
        return None
    delay = _RETRY_S * 2 ** row["failures"]
    _later(site, row, delay, str(failure))
    return Waiting(seconds=delay)


def _retry_in_s(row: sqlite3.Row) -> float:
    if not row["retry_boot"] or row["retry_boot"] != polecats.boot_id():
        return 0.0
    return float(max(0.0, row["retry_mono"] - time.monotonic()))


def _submission(row: sqlite3.Row) -> Submission:
    names = ("id", "rig", "bead_id", "polecat_id", "session_no", "branch", "base_sha", "target", "actor", "attempt", "message")
    return Submission(commit=row["commit_sha"], bead_title=row["title"], **{name: row[name] for name in names})


def _record(site: Site, db: sqlite3.Connection, row: sqlite3.Row, kind: str, **data: object) -> None:
    polecat = polecats.get(db, row["polecat_id"])
    site.record(db, kind, polecat, bead_id=row["bead_id"], submission=row["id"], **data)


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
