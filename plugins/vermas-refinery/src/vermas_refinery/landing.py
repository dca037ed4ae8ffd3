"""Moving the origin's target, in one step or not at all."""

from __future__ import annotations

from vermas.errors import GitError
from vermas.git import Repository, push, refresh_target
from vermas.git.origin import read_target, target_ref
from vermas.types import Candidate, Landing, Rig

_RETRY_S = 1.0  # the core waits longer each time


def land(rig: Rig, candidate: Candidate) -> Landing:
    """Push `candidate.commit` where `candidate.base` is; whatever the push said, the origin is read again before anything is believed."""
    target = candidate.submission.target
    pushed = push(rig.vault, rig.origin, candidate.commit, target, candidate.base)
    try:
        now = read_target(rig.vault, rig.origin, target)
        if now == candidate.commit:
            Repository(rig.vault).update_ref(target_ref(target), now)
            return Landing(kind="landed", sha=now)
        if now != candidate.base:
            return _elsewhere(rig, candidate)
    except GitError as error:
        return Landing(kind="retry", log=f"{pushed.log}\n{error}".strip(), retry_after_s=_RETRY_S)
    if pushed.kind == "rejected":
        return Landing(kind="rejected", log=f"{pushed.log}\n{_next_step(rig, pushed.log)}")
    return Landing(kind="retry", log=pushed.log, retry_after_s=_RETRY_S)


def _elsewhere(rig: Rig, candidate: Candidate) -> Landing:
    """The target is neither at the base nor at the commit: it may have moved on past the commit, after an earlier push of ours."""
    now = refresh_target(rig.vault, rig.origin, candidate.submission.target)
    if Repository(rig.vault).is_ancestor(candidate.commit, now):
        return Landing(kind="landed", sha=now)
    return Landing(kind="moved", sha=now, log=f"{candidate.submission.target} moved to {now[:12]} meanwhile")


def _next_step(rig: Rig, log: str) -> str:
    if "unstaged changes" in log or "uncommitted changes" in log or "untracked working tree" in log or "unclean" in log:
        return f"next: {rig.origin} has the target checked out with changes of its own; commit, stash or remove them there"
    if "hook declined" in log:
        return f"next: a hook of {rig.origin} refuses the commit; its message is above"
    if "protected" in log.lower():
        return f"next: the target is protected at {rig.origin}; allow this account to push, or choose another target"
    return f"next: see why {rig.origin} refuses the push, then run again"
