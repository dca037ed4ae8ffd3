"""Repositories inside a checkout (submodules, clones made by an agent): their content is brought into the checkout's own objects."""

from __future__ import annotations

import os

from vermas.errors import GitError
from vermas.git import untrusted
from vermas.git.files import common_dir, git_dir
from vermas.git.objects import write_object
from vermas.git.transfer import import_commit
from vermas_worktree.checkout import Checkout


def checkout_at(outer: Checkout, path: str) -> Checkout | None:
    """The repository inside at `path`; None when the directory holds none (a submodule that was never fetched)."""
    place = os.path.join(outer.path, path.rstrip("/"))
    if os.path.islink(place) or not os.path.lexists(os.path.join(place, ".git")):
        return None
    found = git_dir(place)
    return Checkout(place, found, common_dir(found), outer.vault) if found else None


def bring_home(outer: Checkout, inner: Checkout, commit: str, person: str) -> str:
    """Copy `commit` of the inner repository with its history into the outer one.

    Without its history (a commit of the same tree without parents) when that can be fetched again or is not all there (a shallow clone).
    """
    if _is_published(inner, commit):
        commit = _without_history(inner, commit, person)
    env = untrusted(outer.common, outer.vault, common=outer.common)
    try:
        import_commit(outer.common, [inner.common], commit, env=env)
    except GitError:
        commit = _without_history(inner, commit, person)
        import_commit(outer.common, [inner.common], commit, env=env)
    return commit


def _is_published(inner: Checkout, commit: str) -> bool:
    """Whether the commit, or the one that its snapshot is based on, is known at a remote of the inner repository."""
    parents = inner.git("rev-parse", commit, f"{commit}^@").text.split()[:2]
    return any(inner.git("for-each-ref", "--count=1", f"--contains={name}", "refs/remotes", ok=(0, 129)).text for name in parents)


def _without_history(inner: Checkout, commit: str, person: str) -> str:
    tree = inner.git("rev-parse", f"{commit}^{{tree}}").text
    text = f"tree {tree}\nauthor {person} 0 +0000\ncommitter {person} 0 +0000\n\nfiles of a repository inside, at {commit}\n"
    return write_object(inner.objects, "commit", os.fsencode(text), like=tree, durable=False)
