"""What git keeps in plain files, read and laid out without a process: where a repository is, its refs, whose objects it borrows.

The formats are those of gitrepository-layout(5). A ref that is not found here may still exist packed:
`None` means "ask git", never "absent".
"""

from __future__ import annotations

import os
import time

from vermas.errors import GitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def is_object_name(text: str) -> bool:
    """Whether `text` is a full object name."""
    return len(text) in (40, 64) and not text.strip("0123456789abcdef")


def git_dir(place: Path | str) -> str | None:
    """The git directory of a checkout, a worktree or a bare repository; None when `place` is none of these."""
    inner = os.path.join(place, ".git")
    try:
        with open(inner, "rb") as file:
            line = file.read(4096 * 2)
    except IsADirectoryError:
        return inner if _is_git_dir(inner) else None
    except (FileNotFoundError, NotADirectoryError):
        return os.fspath(place) if _is_git_dir(place) else None
    if not line.startswith(b"gitdir: "):
        return None
    target = os.path.normpath(os.path.join(place, os.fsdecode(line[8:].rstrip(b"\n"))))
    return target if os.path.isdir(target) else None


def common_dir(git_dir: Path | str) -> str:
    """The directory that a git directory shares with its other worktrees; itself when it has none."""
    line = _line(os.path.join(git_dir, "commondir"))
    return os.path.normpath(os.path.join(git_dir, line)) if line else os.fspath(git_dir)


def object_directories(place: Path | str) -> str:
    """Where the objects of the repository at `place` are. Raises GitError when there is no repository."""
    found = git_dir(place)
    objects = os.path.join(common_dir(found), "objects") if found else ""
    if not os.path.isdir(objects):
        raise GitError(f"{place} is not a git repository")
    return objects


def read_ref(git_dir: Path | str, ref: str) -> str | None:
    """The object name in the loose file of `ref`; None when there is none (it may be packed) or it is symbolic."""
    line = _line(os.path.join(git_dir, ref))
    return line if line is not None and is_object_name(line) else None


def write_ref(git_dir: Path | str, ref: str, new: str) -> None:
    """Point `ref` at `new` as git does: through its lock file, on disk before it has its name, and into its log.

    For plain names and objects that are there; the caller keeps other writers out. Raises OSError when something is in the way.
    """
    path, log = os.path.join(git_dir, ref), os.path.join(git_dir, "logs", ref)
    old = read_ref(git_dir, ref) or "0" * len(new)
    for place in (path, log):
        os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(log, "ab") as file:
        file.write(f"{old} {new} VerMAS <vermas@localhost> {int(time.time())} +0000\n".encode())
    lock = f"{path}.lock"
    with open(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666), "wb") as file:
        try:
            file.write(f"{new}\n".encode())
            file.flush()
            os.fsync(file.fileno())
            os.rename(lock, path)
        except BaseException:
            os.unlink(lock)
            raise


def borrow_objects(objects: Path | str, lender: Path | str) -> None:
    """Let the repository whose objects are in `objects` use those in `lender` too, as `git clone --shared` does; once is enough."""
    path = os.path.join(objects, "info", "alternates")
    line = quoted_path(os.path.relpath(os.path.realpath(lender), os.path.realpath(objects)))
    try:
        with open(path, "rb") as file:
            known = file.read()
    except FileNotFoundError:
        known = b""
    if os.fsencode(line) in known.split(b"\n"):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.urandom(6).hex()}"
    with open(temporary, "xb") as file:
        file.write(os.fsencode(line) + b"\n" + known)
    os.rename(temporary, path)


def make_git_dir(git_dir: Path | str, lender: Path | str, head: str, *, like: str) -> None:
    """Lay out the git directory of a checkout that borrows its objects from `lender` (an objects directory), as `git clone --shared` would.

    `head` is the content of HEAD: a commit, or `ref: refs/heads/…`. `like` is any object name of the lender.
    """
    objects = os.path.join(git_dir, "objects")
    for directory in (os.path.join(objects, "info"), os.path.join(objects, "pack"), os.path.join(git_dir, "refs", "heads")):
        os.makedirs(directory)
    sha256 = len(like) == 64
    config = f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n"
    config += "[gc]\n\tauto = 0\n" + ("[extensions]\n\tobjectformat = sha256\n" if sha256 else "")
    for name, text in (
        ("config", config),
        ("HEAD", f"{head}\n"),
        ("objects/info/alternates", f"{quoted_path(os.path.realpath(lender))}\n"),
    ):
        with open(os.path.join(git_dir, name), "xb") as file:
            file.write(os.fsencode(text))


def quoted_path(path: str) -> str:
    """A path in a list of git's (alternates, one a line or separated by colons), quoted where it holds a separator or a quote."""
    if not any(sign in path for sign in ':"\n'):
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _is_git_dir(path: Path | str) -> bool:
    return all(os.path.exists(os.path.join(path, name)) for name in ("HEAD", "objects", "refs"))


def _line(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(8192).rstrip(b"\n"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
