"""The states that agents leave a sandbox in, made with git as an agent would:
for the cases of `SandboxContract` and for plugins' own tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError

from vermas.testing.sandbox_bench import write
from vermas.testing.town import git
from vermas.types import Sandbox

State = Callable[[Sandbox], None]


def modified(sandbox: Sandbox) -> None:
    write(sandbox, "src/app.py", "print('changed')\n")


def same_size(sandbox: Sandbox) -> None:
    write(sandbox, "src/app.py", "print('ONE')\n")


def staged(sandbox: Sandbox) -> None:
    modified(sandbox)
    git(sandbox.path, "add", "-A")


def staged_then_modified(sandbox: Sandbox) -> None:
    write(sandbox, "src/app.py", "print('staged only')\n")
    git(sandbox.path, "add", "-A")
    write(sandbox, "src/app.py", "print('on disk')\n")


def staged_new_then_deleted(sandbox: Sandbox) -> None:
    write(sandbox, "new.txt", "staged only\n")
    git(sandbox.path, "add", "-A")
    Path(sandbox.path, "new.txt").unlink()


def intent_to_add(sandbox: Sandbox) -> None:
    write(sandbox, "planned.txt", "planned\n")
    git(sandbox.path, "add", "-N", "planned.txt")


def deleted(sandbox: Sandbox) -> None:
    Path(sandbox.path, "src/app.py").unlink()


def renamed(sandbox: Sandbox) -> None:
    git(sandbox.path, "mv", "src/app.py", "src/moved.py")


def executable(sandbox: Sandbox) -> None:
    Path(sandbox.path, "src/app.py").chmod(0o755)


def file_became_link(sandbox: Sandbox) -> None:
    path = Path(sandbox.path, "README.md")
    path.unlink()
    path.symlink_to("/nowhere/at all")


def file_became_directory(sandbox: Sandbox) -> None:
    Path(sandbox.path, "README.md").unlink()
    write(sandbox, "README.md/part", "part\n")


def untracked(sandbox: Sandbox) -> None:
    write(sandbox, "notes.txt", "a note\n")


def untracked_directory(sandbox: Sandbox) -> None:
    write(sandbox, "new/deep/er/file.txt", "deep\n")


def odd_names(sandbox: Sandbox) -> None:
    for name in (
        "-rf",
        "new\nline",
        "tab\tand space",
        'quo"te',
        "back\\slash",
        "ünï-漢字",
        ":(top)magic",
        "*",
        "#hash",
        os.fsdecode(b"latin-\xe9"),
    ):
        write(sandbox, name, f"content of {name!r}\n")


DIRTY: dict[str, State] = {
    state.__name__: state
    for state in (
        modified,
        same_size,
        staged,
        staged_then_modified,
        staged_new_then_deleted,
        intent_to_add,
        deleted,
        renamed,
        executable,
        file_became_link,
        file_became_directory,
        untracked,
        untracked_directory,
        odd_names,
    )
}

#: The unmerged kinds of git-status(1) and the stages that make each.
UNMERGED = {"DD": "1", "AU": "2", "UD": "12", "UA": "3", "DU": "13", "AA": "23", "UU": "123"}


def unmerge(sandbox: Sandbox, stages: str) -> None:
    """Leave `src/app.py` unmerged with just these stages."""
    blob = git(sandbox.path, "rev-parse", "HEAD:src/app.py")
    lines = [f"0 {'0' * 40}\tsrc/app.py", *(f"100644 {blob} {stage}\tsrc/app.py" for stage in stages)]
    git(sandbox.path, "update-index", "--index-info", stdin="".join(f"{line}\n" for line in lines).encode())


def merging(sandbox: Sandbox) -> None:
    """A merge that is finished but for its commit."""
    _branches(sandbox, "other.txt", "README.md")
    git(sandbox.path, "merge", "-q", "--no-commit", "--no-ff", "side")


def merge_conflict(sandbox: Sandbox) -> None:
    _branches(sandbox, "README.md", "README.md")
    _fails(sandbox, "merge", "-q", "side")


def rebasing(sandbox: Sandbox) -> None:
    _branches(sandbox, "README.md", "README.md")
    _fails(sandbox, "rebase", "-q", "side")


def cherry_picking(sandbox: Sandbox) -> None:
    _branches(sandbox, "README.md", "README.md")
    _fails(sandbox, "cherry-pick", "side")


def reverting(sandbox: Sandbox) -> None:
    _branches(sandbox, "other.txt", "README.md")
    write(sandbox, "README.md", "on top\n")
    git(sandbox.path, "commit", "-q", "-a", "-m", "on top")
    _fails(sandbox, "revert", "--no-edit", "HEAD~1")


def applying_mail(sandbox: Sandbox) -> None:
    _branches(sandbox, "README.md", "README.md")
    patch = Path(sandbox.path).parent / "mail.patch"
    patch.write_text(git(sandbox.path, "format-patch", "--stdout", "-1", "side") + "\n")
    _fails(sandbox, "am", "-q", str(patch))


def bisecting(sandbox: Sandbox) -> None:
    _branches(sandbox, "other.txt", "README.md")
    git(sandbox.path, "bisect", "start", "HEAD", "HEAD~1")


OPERATIONS: dict[str, State] = {
    "merge": merging,
    "rebase": rebasing,
    "cherry-pick": cherry_picking,
    "revert": reverting,
    "am": applying_mail,
    "bisect": bisecting,
}


def _branches(sandbox: Sandbox, theirs: str, ours: str) -> None:
    """A commit on a branch `side` and one on the sandbox's own, from the same start."""
    own = git(sandbox.path, "symbolic-ref", "--short", "HEAD")
    git(sandbox.path, "checkout", "-q", "-b", "side")
    write(sandbox, theirs, "their side\n")
    git(sandbox.path, "add", "-A")
    git(sandbox.path, "commit", "-q", "-m", "side")
    git(sandbox.path, "checkout", "-q", own)
    write(sandbox, ours, "our side\n")
    git(sandbox.path, "add", "-A")
    git(sandbox.path, "commit", "-q", "-m", "own")


def _fails(sandbox: Sandbox, *args: str) -> None:
    try:
        git(sandbox.path, *args)
    except CalledProcessError:
        return
    raise AssertionError(f"git {' '.join(args)} should have stopped at a conflict")
