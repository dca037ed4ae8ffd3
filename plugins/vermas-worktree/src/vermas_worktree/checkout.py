"""A checkout that agents can write, and how git is run on it without obeying it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from vermas.git import Result, run, untrusted
from vermas.types import Rig

#: Enough for several hundred thousand files on a slow disk.
TIMEOUT_S = 600.0

#: A file in the git directory of every sandbox: its base and the branch that it was made for.
MARK = "vermas-sandbox"


@dataclass(frozen=True, slots=True)
class Checkout:
    """The files at `path`, whose git directory is `git_dir` with the objects and refs of `common`; bases come from `vault`."""

    path: str
    git_dir: str
    common: str
    vault: str

    def git(self, *args: str, index: str | None = None, input: bytes | None = None, ok: Collection[int] = (0,)) -> Result:
        """Run git on these files with the vault's configuration; `index` stands in for the checkout's own."""
        env = untrusted(self.git_dir, self.vault, common=self.common, work_tree=self.path, index=index)
        exclude = os.path.join(self.common, "info", "exclude")
        # nothing here has to survive a power loss: what does is in the vault by then
        config = ["-c", "core.fsync=none"]
        if os.path.isfile(exclude):
            config += ["-c", f"core.excludesFile={exclude}"]
        return run(None, *config, *args, env=env, input=input, ok=ok, timeout_s=TIMEOUT_S)

    def file(self, *names: str) -> str:
        """A path in the git directory."""
        return os.path.join(self.git_dir, *names)

    @property
    def objects(self) -> str:
        return os.path.join(self.common, "objects")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a provider keeps the git directory of a checkout.

    `checkout(rig, path, branch)` names the places, `lay_out(checkout, place, base)` makes the git directory of
    files that will be moved to `place`, `drop(rig, branch)` discards what lies outside of the files.
    """

    driver: str
    checkout: Callable[[Rig, str, str], Checkout]
    lay_out: Callable[[Checkout, str, str], None]
    drop: Callable[[Rig, str], None]


def label_of(branch: str) -> str:
    """A name for what belongs to the polecat of `branch` (`…@<polecat id>`); ids are never reused."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", branch.rpartition("@")[2]) or "polecat"


def trash_of(rig: Rig) -> str:
    """Where discarded directories wait for their deletion."""
    return os.path.join(rig.path, "trash")


def read_line(path: str) -> str | None:
    """The first line of a small file of git; None when it is missing or not a file."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(8192).split(b"\n", 1)[0])
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def read_lines(path: str) -> list[str]:
    """The lines of a small file of git; none when it is missing."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(65536)).splitlines()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []


def write_line(path: str, line: str) -> None:
    with open(path, "wb") as file:
        file.write(os.fsencode(line) + b"\n")


def drop_lock(common: str, ref: str) -> None:
    """Remove git's lock file of a branch of the core's that no living process can hold: a killed git left it."""
    try:
        os.unlink(os.path.join(common, f"{ref}.lock"))
    except FileNotFoundError:
        pass
