"""Talking to the origin of a rig: the only commands that use the user's own git configuration (credentials, ssh, `insteadOf`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vermas.errors import GitError
from vermas.git import files
from vermas.git.leftover import drop_locks
from vermas.git.process import run
from vermas.git.repository import Repository

_TIMEOUT_S = 900.0
_LOOK_TIMEOUT_S = 60.0
_MOVES = 5
#: What a push says when a git of the origin's was killed or could not write: no answer, so no refusal.
_BROKEN = ("(unpacker error)", "(unable to migrate objects to permanent storage)", "died of signal", "abnormal exit")


def target_ref(target: str) -> str:
    """Where the vault and the yard keep the origin's branch `target` as last seen."""
    return f"refs/vermas/base/{target}"


def create_rig_repositories(origin: str, target: str | None, yard: Path | str, vault: Path | str) -> tuple[str, str]:
    """Make both bare repositories of a rig; again after a crash, it completes them.

    The yard borrows the vault's objects (as `git clone --shared` does), so each base is in the yard as soon as it is in the vault.
    Without a `target` the origin's default branch is meant. Returns the target and its commit. Raises GitError that says whether the origin
    is no repository, cannot be reached, is empty, or has no such branch (and names those it has).
    """
    head, branches = _look(origin)
    chosen = target or head or _only(branches)
    if not branches:
        raise GitError(f"{origin} has no commits: make a first commit there, then try again")
    if not chosen:
        raise GitError(f"{origin} names no default branch: choose a target among {_shown(branches)}")
    if chosen not in branches:
        raise GitError(f"{origin} has no branch {chosen!r}: there is {_shown(branches)}")
    object_format = "sha256" if len(branches[chosen]) == 64 else "sha1"
    Repository(vault).init(chosen, object_format)
    sha = refresh_target(vault, origin, chosen)
    Repository(yard).init(chosen, object_format)
    files.borrow_objects(Repository(yard).objects, Repository(vault).objects)
    Repository(yard).update_refs([(target_ref(chosen), sha, None), (f"refs/heads/{chosen}", sha, None)])
    return chosen, sha


def refresh_target(vault: Path | str, origin: str, target: str) -> str:
    """The commit at the origin's `target`, brought into the vault. One process at most when it has not moved since the last look."""
    repository = Repository(vault)
    ref = target_ref(target)
    sha = read_target(vault, origin, target)
    if files.read_ref(vault, ref) == sha:
        return sha
    if repository.has(sha):
        repository.update_ref(ref, sha)
        return sha
    for _ in range(_MOVES):
        run(
            vault,
            *("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"),
            *("--end-of-options", origin, f"refs/heads/{target}"),  # no ref: only `update_ref` writes those of the vault
            timeout_s=_TIMEOUT_S,
            user_config=True,
        )
        if repository.has(sha):
            repository.update_ref(ref, sha)
            return sha
        sha = read_target(vault, origin, target)  # it was rewritten while it was fetched
    raise GitError(f"{origin}: branch {target!r} is rewritten again and again while it is fetched")


def read_target(vault: Path | str, origin: str, target: str) -> str:
    """The commit at the origin's `target` now, without fetching it. No process for a local origin that keeps the branch in a file."""
    local = local_git_dir(origin)
    sha = files.read_ref(local, f"refs/heads/{target}") if local else None
    sha = sha or ls_remote(origin, f"refs/heads/{target}", vault)
    if sha is None:
        _, branches = _look(origin)
        raise GitError(f"{origin} has no branch {target!r}: there is {_shown(branches) if branches else 'no branch at all'}")
    return sha


def ls_remote(origin: str, ref: str, vault: Path | str | None = None) -> str | None:
    """What `ref` points at in the origin; None when it does not exist there. Raises GitError when the origin cannot be asked."""
    for line in _ask(origin, "--refs", patterns=(ref,), vault=vault).splitlines():
        sha, _, name = line.partition("\t")
        if name == ref:
            return sha
    return None


def default_branch(origin: str) -> str | None:
    """The branch that the origin's HEAD names; None when it names none that exists."""
    return _look(origin)[0]


PushKind = Literal["done", "moved", "rejected", "unreachable"]


@dataclass(frozen=True, slots=True)
class PushResult:
    """What the origin said: `moved` when its branch was not where expected, `rejected` by a rule of its own, `unreachable` when it is
    not known whether the push arrived. `log` is what git printed."""

    kind: PushKind
    log: str = ""


def push(vault: Path | str, origin: str, commit: str, branch: str, expected: str) -> PushResult:
    """Move the origin's `branch` from `expected` to `commit` in one step, or not at all.

    A local origin that has the branch checked out is updated with its files, which git refuses when they hold changes.
    """
    result = _push(vault, origin, commit, branch, expected)
    local = local_git_dir(origin)
    if local:
        drop_locks(local, branch)
    return result


def _push(vault: Path | str, origin: str, commit: str, branch: str, expected: str) -> PushResult:
    args = ["push", "--porcelain", "--no-verify", "--no-signed", f"--force-with-lease=refs/heads/{branch}:{expected}"]
    if local_git_dir(origin):
        settings = ("receive.denyCurrentBranch=updateInstead", "receive.autogc=false", "gc.auto=0", "maintenance.auto=false")
        args.append("--receive-pack=git " + " ".join(f"-c {setting}" for setting in settings) + " receive-pack")
    try:
        result = run(
            vault,
            *args,
            *("--end-of-options", origin, f"{commit}:refs/heads/{branch}"),
            ok=(0, 1),
            timeout_s=_TIMEOUT_S,
            user_config=True,
        )
    except GitError as error:
        return PushResult("unreachable", error.stderr or str(error))
    log = "\n".join(part for part in (result.text, result.stderr.strip()) if part)
    if result.returncode == 0:
        return PushResult("done", log)
    broken = any(sign in log for sign in _BROKEN)
    if "\n!" not in "\n" + result.text or broken:
        return PushResult("unreachable", log)
    moved = ("(stale info)", "(fetch first)", "(non-fast-forward)", "(failed to update ref)", "failed to lock", "cannot lock ref")
    return PushResult("moved" if any(sign in log for sign in moved) else "rejected", log)


def local_git_dir(origin: str) -> str | None:
    """The git directory of an origin that is a path on this machine; None for an URL."""
    path = origin.removeprefix("file://")
    return files.git_dir(path) if os.path.isabs(path) else None


def _look(origin: str) -> tuple[str | None, dict[str, str]]:
    head = None
    branches = {}
    for line in _ask(origin, "--symref", patterns=("HEAD", "refs/heads/*")).splitlines():
        value, _, name = line.partition("\t")
        if name == "HEAD" and value.startswith("ref: refs/heads/"):
            head = value.removeprefix("ref: refs/heads/")
        elif name.startswith("refs/heads/"):
            branches[name.removeprefix("refs/heads/")] = value
    return (head if head in branches else None), branches


def _ask(origin: str, *options: str, patterns: tuple[str, ...], vault: Path | str | None = None) -> str:
    try:
        result = run(
            vault,
            *("ls-remote", "-q", *options, "--end-of-options", origin, *patterns),
            timeout_s=_LOOK_TIMEOUT_S,
            user_config=True,
        )
    except GitError as error:
        raise GitError(_why_unreachable(origin, error), argv=error.argv, returncode=error.returncode, stderr=error.stderr) from None
    return result.text


def _why_unreachable(origin: str, error: GitError) -> str:
    if os.path.isabs(origin) and not os.path.exists(origin):
        return f"{origin} does not exist"
    if os.path.isabs(origin) and files.git_dir(origin) is None:
        return f"{origin} is not a git repository"
    return f"cannot reach {origin}: {error}"


def _only(branches: dict[str, str]) -> str | None:
    return next(iter(branches)) if len(branches) == 1 else None


def _shown(branches: dict[str, str]) -> str:
    names = sorted(branches)
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
