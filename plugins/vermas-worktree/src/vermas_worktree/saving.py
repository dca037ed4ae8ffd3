"""One commit with everything in a checkout that is worth keeping, made without touching it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from vermas import trash
from vermas.errors import GitError
from vermas.git.files import is_object_name, read_ref
from vermas.git.objects import write_object
from vermas_worktree import nested
from vermas_worktree.checkout import Checkout, read_lines, write_line
from vermas_worktree.index import is_plain
from vermas_worktree.looking import Status, stashes, status

_PERSON = "VerMAS <vermas@localhost>"


def snapshot(checkout: Checkout, branch: str, base: str) -> str:
    """The name of a commit that has the present commit as its first parent (the base,
    when there is none) and in its tree all files as they are.

    Further parents keep what a tree cannot: the index where it differs from both, the branch and the commits of an unfinished
    operation, stash entries, repositories inside. The commit has fixed dates, so the same content has the same name; without
    anything unsaved it is the present commit itself. Raises GitError when something cannot be read.
    """
    tip = read_ref(checkout.common, f"refs/heads/{branch}") or base
    if not os.path.isdir(checkout.objects):
        raise GitError(
            f"the git directory {checkout.common} is gone and its commits with it: nothing is removed, see what is left in {checkout.path}"
        )
    if not os.path.isdir(checkout.path):
        return tip
    with trash.scratch(os.path.join(os.path.dirname(checkout.vault), "trash"), "snapshot") as scratch:
        if not os.path.isdir(checkout.git_dir):
            checkout = _stand_in(checkout, scratch, tip)
        return _save(checkout, scratch, branch, base)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the index: `hidden` ones are marked so that git does not look at their files."""

    line: str
    path: str
    gitlink: bool
    staged: bool
    hidden: bool


def _save(checkout: Checkout, scratch: str, branch: str, base: str) -> str:
    found = status(checkout, every_file=True)
    entries = [] if not found.dirty and is_plain(checkout.file("index")) else _entries(checkout)
    hidden = [entry.path for entry in entries if entry.hidden and os.path.lexists(os.path.join(checkout.path, entry.path))]
    index = _copied_index(checkout, os.path.join(scratch, "index"))
    if hidden:
        names = os.fsencode("".join(f"{name}\0" for name in hidden))
        for flag in ("--no-assume-unchanged", "--no-skip-worktree"):  # git takes one at a time
            checkout.git("update-index", "-z", flag, "--stdin", index=index, input=names)
        found = status(checkout, index=index, every_file=True)
    head = found.head or base
    others = _other_commits(checkout, found, branch)
    inner = {path: _inside(checkout, path) for path in found.nested}
    links = [entry.path for entry in entries if entry.gitlink]
    others += [commit for path in links if (commit := _inside_submodule(checkout, path, base))]
    others += [commit for commit in inner.values() if commit]
    if not found.dirty:
        others = [name for name in others if not _contains(checkout, head, name)]
        if not others:
            return head
    if found.mixed:
        others.insert(0, _commit(checkout, _staged_tree(checkout, scratch, entries), [head], "the index as it was"))
    parents = list(dict.fromkeys(name for name in (head, *others) if name))
    return _commit(checkout, _files_tree(checkout, index, inner), parents, f"everything in the sandbox of {branch}")


def _entries(checkout: Checkout) -> list[_Entry]:
    entries = []
    for field in checkout.git("ls-files", "-v", "--stage", "-z").fields():
        mark, _, line = field.partition(" ")
        info, _, path = line.partition("\t")
        entries.append(_Entry(line, path, info.startswith("160000"), info.endswith(" 0"), mark.islower() or mark == "S"))
    return entries


def _files_tree(checkout: Checkout, index: str, inner: dict[str, str]) -> str:
    """The tree of all files; those of repositories inside are put in their places, which `git add` would not do."""
    patterns = [".", *(f":(exclude,literal){path.rstrip('/')}" for path in inner)]
    checkout.git(
        "add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul", index=index, input=os.fsencode("".join(f"{p}\0" for p in patterns))
    )
    for path, commit in inner.items():
        if commit:
            checkout.git("read-tree", f"--prefix={path.rstrip('/')}/", commit, index=index)
    return checkout.git("write-tree", index=index).text


def _staged_tree(checkout: Checkout, scratch: str, entries: list[_Entry]) -> str:
    """The tree of the staged versions; unmerged paths have none (their sides are in the commits that are merged)."""
    index = os.path.join(scratch, "staged")
    lines = "".join(f"{entry.line}\0" for entry in entries if entry.staged)
    checkout.git("update-index", "-z", "--add", "--index-info", index=index, input=os.fsencode(lines))
    return checkout.git("write-tree", index=index).text


def _copied_index(checkout: Checkout, index: str) -> str:
    """A copy of the index with its modification time: git tells by it which files must be read again."""
    try:
        shutil.copy2(checkout.file("index"), index)
    except FileNotFoundError:
        pass
    return index


def _stand_in(checkout: Checkout, scratch: str, tip: str) -> Checkout:
    """The same files with a git directory of ours, for when their own is lost: everything counts from the branch as it is in the yard."""
    git_dir = os.path.join(scratch, "git")
    os.mkdir(git_dir)
    write_line(os.path.join(git_dir, "HEAD"), tip)
    write_line(os.path.join(git_dir, "commondir"), os.path.abspath(checkout.common))
    instead = Checkout(checkout.path, git_dir, checkout.common, checkout.vault)
    instead.git("read-tree", tip)
    return instead


def _other_commits(checkout: Checkout, found: Status, branch: str) -> list[str]:
    """Commits that are the polecat's work but not the present one: sides of an unfinished operation, the branch, stash entries."""
    names = [read_ref(checkout.common, f"refs/heads/{branch}") or ""] if found.branch != branch else []
    for state in (("rebase-merge", "orig-head"), ("rebase-apply", "orig-head"), ("MERGE_HEAD",), ("CHERRY_PICK_HEAD",), ("REVERT_HEAD",)):
        names += read_lines(checkout.file(*state))
    names += stashes(checkout, found.branch or branch, detached=not found.branch)
    wanted = list(dict.fromkeys(name for name in names if is_object_name(name) and name != found.head))
    return [name for name in wanted if checkout.git("cat-file", "-e", f"{name}^{{commit}}", ok=(0, 1, 128)).returncode == 0]


def _contains(checkout: Checkout, head: str, commit: str) -> bool:
    return checkout.git("merge-base", "--is-ancestor", commit, head, ok=(0, 1)).returncode == 0


def _inside(checkout: Checkout, path: str) -> str:
    """A commit with the content of the untracked repository at `path`; "" when it is empty."""
    inner = nested.checkout_at(checkout, path)
    saved = snapshot(inner, "", "") if inner else ""
    return nested.bring_home(checkout, inner, saved, _PERSON) if inner and saved else ""


def _inside_submodule(checkout: Checkout, path: str, base: str) -> str:
    """A commit with what the submodule at `path` has beyond what the base recorded; "" when there is nothing."""
    inner = nested.checkout_at(checkout, path)
    if inner is None:
        return ""
    saved = snapshot(inner, "", "")
    recorded = checkout.git("ls-tree", "-z", "--format=%(objectname)", base, "--", path).fields() if base else []
    return nested.bring_home(checkout, inner, saved, _PERSON) if saved and saved not in recorded else ""


def _commit(checkout: Checkout, tree: str, parents: list[str], message: str) -> str:
    lines = [
        f"tree {tree}",
        *(f"parent {parent}" for parent in parents),
        f"author {_PERSON} 0 +0000",
        f"committer {_PERSON} 0 +0000",
        "",
        message,
        "",
    ]
    return write_object(checkout.objects, "commit", os.fsencode("\n".join(lines)), like=tree, durable=False)
