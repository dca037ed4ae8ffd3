"""From a candidate to a verdict: the rig's check, run to its end once, whatever is killed meanwhile."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os

from vermas import processes, trash
from vermas.processes import ExitRecord
from vermas.types import Candidate, Rig, Verdict, from_json, to_json
from vermas_refinery import attempts
from vermas_refinery.attempts import Attempt
from vermas_refinery.options import Options, options_of

#: From here on a shell's code says that the command was not executable, not found or killed: no judgement on the code.
_DID_NOT_RUN = 126
_KEPT_GATES = 50
_TAIL_BYTES = 64_000
_PASSED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP")


def verify(rig: Rig, candidate: Candidate) -> Verdict | None:
    """Start the check, look how far it is, or tell the recorded verdict."""
    if rig.check.strip() in ("", "none"):
        return None
    options = options_of(rig.options.get("refinery"))
    config = config_hash(rig.check, options)
    gate = os.path.join(_gates(rig), f"{candidate.submission.id}-{candidate.commit[:12]}-{config[:8]}")
    tag = f"{rig.town_id}/gate-{rig.name}-{os.path.basename(gate)}"
    recorded = _read(gate)
    if recorded is not None:
        return recorded
    attempt = attempts.latest(gate, tag)
    if attempt is None:
        _end_others(rig, candidate, gate)
        return _start(rig, candidate, Attempt(gate, 1, f"{tag}/1"), options, config)
    ended = processes.read_exit(attempt.file("exit"))  # first: its supervisor holds the lock a little longer
    if ended is None:
        pid = attempts.running_pid(attempt)
        if pid is not None:
            return _running(pid, config)
        ended = processes.read_exit(attempt.file("exit"))
    if ended is None and not attempts.was_started(attempt):
        return _start(rig, candidate, attempt, options, config)
    verdict = _judge(rig, attempt, ended, options)
    if verdict is not None:
        return _final(rig, attempt, dataclasses.replace(verdict, log=attempt.file("log"), config_hash=config))
    attempts.end(attempt)
    following = Attempt(gate, attempt.number + 1, f"{tag}/{attempt.number + 1}")
    trash.discard(attempt.file("tree"), _trash(rig), attempt.id)
    return _start(rig, candidate, following, options, config)


def config_hash(check: str, options: Options) -> str:
    """A name for what was run and how: a verdict counts for exactly this."""
    values = {"check": check, "timeout_s": options.timeout_s, "env": sorted(options.env)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def check_environment(names: tuple[str, ...]) -> dict[str, str]:
    """What a check sees of the environment: an allow-list, and what the rig's options name."""
    wanted = (*_PASSED, *names)
    env = {name: value for name, value in os.environ.items() if name in wanted or name.startswith("LC_")}
    return {**env, "TERM": "dumb", "GIT_TERMINAL_PROMPT": "0"}


def tidy(rig: Rig, submission_id: int) -> None:
    """Drop the checkouts of earlier submissions' gates, and all but the newest of their logs. Only one submission is checked at a time."""
    gates = sorted(((_number(name), name) for name in _listed(_gates(rig)) if _number(name) < submission_id), reverse=True)
    for position, (_, name) in enumerate(gates):
        gate = os.path.join(_gates(rig), name)
        attempt = attempts.latest(gate, f"{rig.town_id}/gate-{rig.name}-{name}")
        if attempt is None:
            continue
        if attempts.running_pid(attempt) is not None:
            attempts.end(attempt)  # of a submission that was withdrawn: nobody waits for it
        if position >= _KEPT_GATES:
            trash.discard(gate, _trash(rig), f"gate-{name}")
        else:
            trash.discard(attempt.file("tree"), _trash(rig), attempt.id)
    trash.empty(_trash(rig))


def _judge(rig: Rig, attempt: Attempt, ended: ExitRecord | None, options: Options) -> Verdict | None:
    """The verdict of an ended attempt; None when it did not run to its end and may be run again."""
    if ended is not None and ended.timed_out:
        return Verdict(kind="fail", reasons=(f"the check took longer than {options.timeout_s:g} s and was ended", *_tail(attempt, options)))
    if ended is not None and ended.code is not None and ended.code < _DID_NOT_RUN and not ended.stopped_by and not ended.error:
        if ended.code:
            return Verdict(kind="fail", reasons=(f"the check exited with {ended.code}: {rig.check}", *_tail(attempt, options)))
        changed = attempts.changed_files(attempt, rig.vault)
        if not changed:
            return Verdict(kind="pass")
        names = ", ".join(changed[:10])
        return Verdict(
            kind="fail", reasons=(f"the check passed, but it changed tracked files ({names}): what it judged is not what would land",)
        )
    if attempt.number < options.attempts:
        return None
    why = _why_not_run(ended)
    return Verdict(
        kind="needs-human", reasons=(f"the check could not be run to its end {attempt.number} times: {why}", *_tail(attempt, options))
    )


def _why_not_run(ended: ExitRecord | None) -> str:
    if ended is None:
        return "its supervisor was killed"
    if ended.error:
        return ended.error
    if ended.stopped_by or ended.signal:
        return f"killed by {ended.stopped_by or f'signal {ended.signal}'}"
    return f"exit code {ended.code} (126: not executable, 127: not found, above: killed by a signal)"


def _tail(attempt: Attempt, options: Options) -> tuple[str, ...]:
    try:
        with open(attempt.file("log"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    return ("\n".join(lines[-options.log_lines :]),) if lines else ()


def _start(rig: Rig, candidate: Candidate, attempt: Attempt, options: Options, config: str) -> Verdict:
    attempts.prepare(attempt, rig.vault, candidate.commit, _trash(rig))
    env = {**check_environment(options.env), "PWD": attempt.file("tree")}
    poke = os.path.join(rig.run_dir, f"poke-{rig.name}")
    return _running(attempts.start(attempt, ["/bin/sh", "-c", rig.check], env, options.timeout_s, poke), config)


def _running(pid: int, config: str) -> Verdict:
    return Verdict(kind="running", wait_pid=pid, config_hash=config)


def _final(rig: Rig, attempt: Attempt, verdict: Verdict) -> Verdict:
    """Record the verdict before the checkout it was reached on goes."""
    processes.atomic_write(os.path.join(attempt.gate, "verdict.json"), json.dumps(to_json(verdict)).encode())
    trash.discard(attempt.file("tree"), _trash(rig), attempt.id)
    trash.empty(_trash(rig))
    return verdict


def _read(gate: str) -> Verdict | None:
    try:
        with open(os.path.join(gate, "verdict.json"), "rb") as file:
            recorded = from_json(Verdict, json.load(file))
    except FileNotFoundError:
        return None
    return recorded


def _end_others(rig: Rig, candidate: Candidate, gate: str) -> None:
    """End checks of this submission's earlier candidates (another target, another configuration): nobody waits for them."""
    for name in _listed(_gates(rig)):
        other = os.path.join(_gates(rig), name)
        if _number(name) == candidate.submission.id and other != gate:
            attempt = attempts.latest(other, f"{rig.town_id}/gate-{rig.name}-{name}")
            if attempt is not None and attempts.running_pid(attempt) is not None:
                attempts.end(attempt)


def _gates(rig: Rig) -> str:
    return os.path.join(rig.path, "gates")


def _trash(rig: Rig) -> str:
    return os.path.join(rig.path, "trash")


def _number(name: str) -> int:
    head = name.partition("-")[0]
    return int(head) if head.isdigit() else -1


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
