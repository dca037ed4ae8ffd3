"""What state a checkout is in: one git process, the rest is read from git's own state files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from vermas.errors import GitError
from vermas.git.files import read_ref
from vermas.git.objects import commits_since
from vermas.types import SandboxKind, SandboxState
from vermas_worktree.checkout import MARK, Checkout, read_line
from vermas_worktree.nested import checkout_at

#: The mode of a submodule's entry as it stands in the index file (gitformat-index(5)).
_GITLINK_MODE = b"\x00\x00\xe0\x00"


@dataclass(slots=True)
class Status:
    """`git status --porcelain=v2 --branch -z`, taken apart. `head` is "" when unborn, `branch` "" when detached.

    `mixed` says that some file is staged in one form and lies there in another. `nested` are repositories inside, not submodules.
    """

    head: str = ""
    branch: str = ""
    changed: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    nested: list[str] = field(default_factory=list)
    submodules: list[str] = field(default_factory=list)
    mixed: bool = False

    @property
    def dirty(self) -> bool:
        return bool(self.changed or self.untracked or self.conflicts or self.nested or self.submodules)


def status(checkout: Checkout, *, index: str | None = None, every_file: bool = False) -> Status:
    """Ask git. Submodules are compared by their commit only: git would run with their own configuration inside. Raises GitError."""
    untracked = "all" if every_file else "normal"
    output = checkout.git(
        "status",
        "--porcelain=v2",
        "--branch",
        "-z",
        "--no-renames",
        "--ignore-submodules=dirty",
        f"--untracked-files={untracked}",
        index=index,
    )
    found = Status()
    for record in output.fields():
        _take(found, record, checkout.path)
    return found


def _take(found: Status, record: str, path: str) -> None:
    kind, _, rest = record.partition(" ")
    if kind == "#":
        key, _, value = rest.partition(" ")
        if key == "branch.oid" and value != "(initial)":
            found.head = value
        elif key == "branch.head" and value != "(detached)":
            found.branch = value
    elif kind == "1":
        states, submodule, *_, name = rest.split(" ", 7)
        (found.submodules if submodule.startswith("S") else found.changed).append(name)
        found.mixed |= "." not in states
    elif kind == "u":
        states, *_, name = rest.split(" ", 9)
        found.conflicts.append(f"{states} {name}")
    elif kind == "?":
        nested = rest.endswith("/") and os.path.lexists(os.path.join(path, rest, ".git"))
        (found.nested if nested else found.untracked).append(rest)


def look(checkout: Checkout, branch: str, base: str) -> SandboxState:
    """The state of a checkout that should be on `branch`, which started at `base`. Never raises for what an agent may have done."""
    try:
        if not os.path.isdir(checkout.path):
            return _without_files(checkout, branch)
        if not os.path.isdir(checkout.git_dir):
            return SandboxState(kind="unknown", evidence=(f"the files are there, their git directory {checkout.git_dir} is not",))
        found = status(checkout)
        found.submodules += [path for path in changed_submodules(checkout) if path not in found.submodules]
        operation = operation_in_progress(checkout)
        saved = stashes(checkout, found.branch or branch, detached=not found.branch)
        commits = count_commits(checkout, base, found.head) if found.head else 0
    except (GitError, OSError) as error:
        return SandboxState(kind="unknown", evidence=(str(error),))
    link = link_problem(checkout)
    kind: SandboxKind = "clean"
    if link:
        kind = "unknown"
    elif found.conflicts:
        kind = "conflicted"
    elif found.dirty or operation or saved:
        kind = "dirty"
    return SandboxState(
        kind=kind,
        head=found.head,
        branch=found.branch,
        commits=commits,
        operation=operation,
        detached=not found.branch,
        unborn=not found.head,
        conflicts=tuple(found.conflicts),
        changed=len(found.changed),
        untracked=len(found.untracked) + len(found.nested),
        stashes=len(saved),
        submodules=tuple(found.submodules),
        evidence=tuple(_sentences(found, branch, operation, len(saved), commits, link)),
    )


def changed_submodules(checkout: Checkout) -> list[str]:
    """The submodules that hold changes of their own. No process unless the index has any."""
    if not any(_GITLINK_MODE in content for content in _index_files(checkout)):
        return []
    entries = [entry.partition("\t") for entry in checkout.git("ls-files", "--stage", "-z").fields()]
    inside = {path: checkout_at(checkout, path) for info, _, path in entries if info.startswith("160000")}
    return [path for path, inner in inside.items() if inner is not None and status(inner).dirty]


def _index_files(checkout: Checkout) -> Iterator[bytes]:
    names = [name for name in os.listdir(checkout.git_dir) if name == "index" or name.startswith("sharedindex.")]
    for name in names:
        with open(checkout.file(name), "rb") as file:
            yield file.read()


def _without_files(checkout: Checkout, branch: str) -> SandboxState:
    if os.path.lexists(checkout.path):
        return SandboxState(kind="unknown", evidence=(f"{checkout.path} is not a directory",))
    head = read_ref(checkout.common, f"refs/heads/{branch}") or ""
    kept = f"its branch {branch} is at {head[:12]}" if head else f"its branch {branch} is not there either"
    return SandboxState(kind="missing", head=head, evidence=(f"{checkout.path} is gone; {kept}",))


def link_problem(checkout: Checkout) -> str:
    """What is wrong with the checkout's own way to its git directory, if anything."""
    link = os.path.join(checkout.path, ".git")
    if not os.path.exists(checkout.file(MARK)):
        return "the checkout's git directory is not the one that VerMAS made"
    if os.path.realpath(link) == os.path.realpath(checkout.git_dir):
        return ""
    if not os.path.lexists(link):
        return "the checkout's .git is gone: git does not work in it any more"
    line = read_line(link)
    if line is None:
        return "the checkout's .git was replaced by another repository"
    target = os.path.join(checkout.path, line.removeprefix("gitdir: "))
    return "" if os.path.realpath(target) == os.path.realpath(checkout.git_dir) else f"the checkout's .git points elsewhere: {line}"


def operation_in_progress(checkout: Checkout) -> str:
    """`rebase`, `am`, `merge`, `cherry-pick`, `revert`, `bisect`, or "" when none is under way."""
    if os.path.isdir(checkout.file("rebase-merge")):
        return "rebase"
    if os.path.isdir(checkout.file("rebase-apply")):
        return "am" if os.path.exists(checkout.file("rebase-apply", "applying")) else "rebase"
    for name, operation in (
        ("MERGE_HEAD", "merge"),
        ("CHERRY_PICK_HEAD", "cherry-pick"),
        ("REVERT_HEAD", "revert"),
        ("BISECT_LOG", "bisect"),
    ):
        if os.path.exists(checkout.file(name)):
            return operation
    todo = read_line(checkout.file("sequencer", "todo"))
    if todo is None:
        return ""
    return "revert" if todo.startswith("revert") else "cherry-pick"


def stashes(checkout: Checkout, branch: str, *, detached: bool) -> list[str]:
    """The stash entries made on `branch` (and, when detached, those made on no branch).
    All worktrees share one stash: others' are not ours."""
    try:
        with open(os.path.join(checkout.common, "logs", "refs", "stash"), "rb") as file:
            lines = os.fsdecode(file.read()).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    places = [branch, "(no branch)"] if detached else [branch]
    starts = tuple(f"{word} {place}:" for place in places for word in ("WIP on", "On"))
    entries = [line.partition("\t") for line in lines]
    return [head.split(" ")[1] for head, _, message in entries if message.startswith(starts)]


def count_commits(checkout: Checkout, base: str, head: str) -> int:
    """How many commits `head` has that `base` has not. A straight line of loose commits is counted without a process."""
    known = commits_since(checkout.objects, base, head)
    if known is not None:
        return known
    return int(checkout.git("rev-list", "--count", head, f"^{base}", "--").text)


def _sentences(found: Status, branch: str, operation: str, saved: int, commits: int, link: str) -> list[str]:
    sentences = [link] if link else []
    if operation:
        sentences.append(f"{operation} in progress")
    if not found.branch:
        sentences.append(f"HEAD is detached at {found.head[:12] or 'nothing'}")
    elif found.branch != branch:
        sentences.append(f"on branch {found.branch} instead of {branch}")
    for names, what in (
        (found.conflicts, "unmerged"),
        (found.changed, "changed"),
        (found.untracked, "untracked"),
        (found.nested, "repository of its own inside"),
        (found.submodules, "submodule changed"),
    ):
        if names:
            sentences.append(f"{what}: {', '.join(names[:5])}{', …' if len(names) > 5 else ''}")
    if saved:
        sentences.append(f"stash entries: {saved}")
    if commits:
        sentences.append(f"commits beyond the base: {commits}")
    return sentences
