"""Removing a checkout whose content is safe in the vault."""

from __future__ import annotations

import os

from vermas import trash
from vermas.errors import GitError
from vermas.git import Repository, run, untrusted
from vermas.git.files import read_ref
from vermas.types import Rig, Sandbox
from vermas_worktree.checkout import Layout, drop_lock, label_of, trash_of


def remove(layout: Layout, rig: Rig, sandbox: Sandbox) -> None:
    """One rename frees the place, a second one drops the git directory; then the branch, then the files. Repeating it finishes it."""
    checkout = layout.checkout(rig, sandbox.path, sandbox.branch)
    trash.discard(sandbox.path, trash_of(rig), label_of(sandbox.branch))
    layout.drop(rig, sandbox.branch)
    if checkout.common == rig.yard:
        _delete_branch(rig, f"refs/heads/{sandbox.branch}")
    trash.empty(trash_of(rig))


def _delete_branch(rig: Rig, ref: str) -> None:
    """Delete a branch of the yard whose commit is in the vault; another one stays, as the only way to its commits.

    A loose ref is deleted here as git does it, under its lock file; git itself is only needed when refs were packed. The sandbox is gone:
    a lock file that is there already was left by something killed.
    """
    drop_lock(rig.yard, ref)
    tip = read_ref(rig.yard, ref)
    if os.path.exists(os.path.join(rig.yard, "packed-refs")):
        tip = tip or _packed(rig, ref)
        if tip and Repository(rig.vault).has(tip):
            run(None, "update-ref", "-d", ref, tip, env=untrusted(rig.yard, rig.vault, common=rig.yard))
        return
    if tip is None or not Repository(rig.vault).has(tip):
        return
    path = os.path.join(rig.yard, ref)
    os.close(os.open(f"{path}.lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        if read_ref(rig.yard, ref) == tip:
            os.unlink(path)
            _unlink(os.path.join(rig.yard, "logs", ref))
    finally:
        os.unlink(f"{path}.lock")


def _packed(rig: Rig, ref: str) -> str | None:
    out = run(None, "rev-parse", "--verify", "-q", ref, env=untrusted(rig.yard, rig.vault, common=rig.yard), ok=(0, 1))
    if out.returncode and out.stderr:
        raise GitError(f"cannot read {ref} of {rig.yard}: {out.stderr}")
    return out.text or None


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
