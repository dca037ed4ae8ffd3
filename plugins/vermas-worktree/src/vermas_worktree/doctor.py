"""What `vermas doctor` asks of the sandbox plugins."""

from __future__ import annotations

import os
import re

from vermas import trash
from vermas.errors import GitError
from vermas.git import run
from vermas.types import Check, Rig
from vermas_worktree.checkout import trash_of

_NEEDED = (2, 38)


def checks(rig: Rig) -> list[Check]:
    """The version of git, and what lies in the trash."""
    return [_git_version(), _trash(rig)]


def _git_version() -> Check:
    try:
        text = run(None, "version").text
    except GitError as error:
        return Check(name="git", status="error", message=str(error), hint="install git 2.38 or later")
    numbers = re.findall(r"\d+", text)
    version = (int(numbers[0]), int(numbers[1])) if len(numbers) > 1 else (0, 0)
    if version < _NEEDED:
        return Check(
            name="git", status="error", message=f"{text} is too old", hint="install git 2.38 or later: `merge-tree --write-tree` is needed"
        )
    return Check(name="git", status="ok", message=text)


def _trash(rig: Rig) -> Check:
    names = trash.leftovers(trash_of(rig))
    if not names:
        return Check(name="trash", status="ok", message="empty")
    return Check(
        name="trash",
        status="warning",
        message=f"{len(names)} directories wait for deletion in {trash_of(rig)}: {', '.join(names[:5])}",
        hint=f"look into them, then: rm -rf {os.path.join(trash_of(rig), '*')}",
    )
