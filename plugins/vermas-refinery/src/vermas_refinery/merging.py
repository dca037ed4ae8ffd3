"""Building what would land, by plumbing in the vault: no working tree, no branch."""

from __future__ import annotations

from vermas.errors import GitError
from vermas.git import Repository, refresh_target
from vermas.git.objects import commits_since
from vermas.types import Candidate, Rig, Submission
from vermas_refinery.options import options_of


def candidate(rig: Rig, submission: Submission) -> Candidate:
    """The pinned commit merged on the origin's target as it is now. One git process when the target's place is known without asking."""
    vault = Repository(rig.vault)
    if not vault.has(submission.commit):
        raise GitError(f"the submitted commit {submission.commit} is not in the vault {rig.vault}")
    base = refresh_target(rig.vault, rig.origin, submission.target)
    tree, conflicts = _merge(vault, base, submission.commit)
    if conflicts:
        return Candidate(kind="conflict", submission=submission, base=base, files=conflicts)
    if tree == vault.commit(base).tree:
        return Candidate(kind="noop", submission=submission, base=base)
    # the submitted commit's own time, so that the same input has the same name after any crash
    at = vault.commit(submission.commit).at
    author = options_of(rig.options.get("refinery")).author
    commit = vault.commit_tree(tree, [base, submission.commit], _message(submission), author, at)
    return Candidate(kind="merge", submission=submission, base=base, commit=commit, tree=tree)


def _merge(vault: Repository, base: str, commit: str) -> tuple[str, tuple[str, ...]]:
    if commits_since(vault.objects, base, commit) is not None:
        return vault.commit(commit).tree, ()
    merged = vault.merge_tree(base, commit)
    return merged.tree, merged.conflicts


def _message(submission: Submission) -> str:
    title = " ".join(submission.bead_title.split())
    body = [f"Merge {submission.bead_id}: {title}"[:200], ""]
    if submission.message.strip():
        body += [submission.message.strip(), ""]
    body += [f"Bead: {submission.bead_id}"]
    if submission.actor:
        body += [f"Polecat: {submission.actor} ({submission.polecat_id})"]
    return "\n".join(body)
