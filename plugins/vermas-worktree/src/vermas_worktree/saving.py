"""One commit with everything in a checkout that is worth keeping, made without touching it."""

from __future__ import annotations

import os
import shutil
import tempfile

from vermas.git.files import is_object_name, read_ref
from vermas.git.objects import write_object
from vermas_worktree.checkout import Checkout, read_line
from vermas_worktree.looking import Status, stashes, status

_PERSON = "VerMAS <vermas@localhost>"


def snapshot(checkout: Checkout, branch: str, base: str) -> str:
    """The name of a commit that has the present commit as its first parent (the base, when there is none) and in its tree all files as they are.

    Further parents keep what a tree cannot: the index where it differs from both, the branch and the commits of an unfinished
    operation, stash entries. The commit has fixed dates, so the same content has the same name; without anything unsaved it is the
    present commit itself. Raises GitError when something cannot be read.
    """
    if not os.path.isdir(checkout.path):
        return _last_commit(checkout, branch, base)
    found = status(checkout, every_file=True)
    head = found.head or base
    others = [name for name in _other_commits(checkout, found, branch) if name not in (head, base)]
    if not found.dirty and not others:
        return head
    with tempfile.TemporaryDirectory(prefix="vermas-snapshot-") as scratch:
        if found.mixed:
            others.insert(0, _commit(checkout, _index_tree(checkout, scratch), [head], "the index as it was"))
        tree = _files_tree(checkout, scratch)
    return _commit(checkout, tree, [head, *others], f"everything in the sandbox of {branch}")


def _last_commit(checkout: Checkout, branch: str, base: str) -> str:
    """What is left of a checkout whose files are gone."""
    return read_ref(checkout.common, f"refs/heads/{branch}") or base


def _files_tree(checkout: Checkout, scratch: str) -> str:
    index = _copied_index(checkout, os.path.join(scratch, "files"))
    checkout.git("add", "--all", "--", ".", index=index)
    return checkout.git("write-tree", index=index).text


def _index_tree(checkout: Checkout, scratch: str) -> str:
    """The tree of the staged versions; unmerged paths have none (their sides are in the commits that are merged)."""
    index = os.path.join(scratch, "staged")
    entries = checkout.git("ls-files", "--stage", "-z").fields()
    staged = [entry for entry in entries if entry.split("\t", 1)[0].endswith(" 0")]
    checkout.git("update-index", "-z", "--add", "--index-info", index=index, input=os.fsencode("".join(f"{entry}\0" for entry in staged)))
    return checkout.git("write-tree", index=index).text


def _copied_index(checkout: Checkout, index: str) -> str:
    """A copy of the index with its modification time: git tells by it which files must be read again."""
    try:
        shutil.copy2(checkout.file("index"), index)
    except FileNotFoundError:
        pass
    return index


def _other_commits(checkout: Checkout, found: Status, branch: str) -> list[str]:
    """Commits that are the polecat's work but not in the present one: sides of an unfinished operation, the branch, stash entries."""
    names = [read_ref(checkout.common, f"refs/heads/{branch}")] if found.branch != branch else []
    for state in (("rebase-merge", "orig-head"), ("rebase-apply", "orig-head"), ("MERGE_HEAD",), ("CHERRY_PICK_HEAD",), ("REVERT_HEAD",)):
        names.append(read_line(checkout.file(*state)))
    names += stashes(checkout, found.branch or branch, detached=not found.branch)
    return list(dict.fromkeys(name for name in names if name and is_object_name(name)))


def _commit(checkout: Checkout, tree: str, parents: list[str], message: str) -> str:
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {_PERSON} 0 +0000", f"committer {_PERSON} 0 +0000", "", message, ""]
    return write_object(checkout.objects, "commit", os.fsencode("\n".join(lines)), like=tree)
