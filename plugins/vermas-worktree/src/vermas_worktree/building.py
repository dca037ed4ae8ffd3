"""Making a checkout so that it appears at its place whole or not at all."""

from __future__ import annotations

import os
import secrets

from vermas import trash
from vermas.errors import Conflict, GitError
from vermas.git.files import git_dir, is_object_name, read_ref
from vermas.types import Polecat, Rig, Sandbox
from vermas_worktree.checkout import MARK, Checkout, Layout, drop_lock, label_of, read_line, trash_of, write_line
from vermas_worktree.looking import link_problem, status


def create(layout: Layout, rig: Rig, polecat: Polecat, base: str) -> Sandbox:
    """The sandbox of `polecat`, made when it is not there yet. One git process.

    The files are checked out beside the place and renamed to it, so whatever is at the place is whole; what an interrupted attempt left is
    thrown away first.
    """
    if not is_object_name(base):
        raise GitError(f"the base of a sandbox must be a full commit name, not {base!r}")
    place = os.path.join(polecat.slot_dir, rig.name)
    final = layout.checkout(rig, place, polecat.branch)
    if os.path.lexists(place):
        started = _base_of_whole(final, polecat.branch)
        if started and (started == base or not _untouched(final, started)):
            return Sandbox(driver=layout.driver, path=place, branch=polecat.branch, base_sha=started)
        _clear(rig, polecat, final, ours=bool(started))
    _build(layout, rig, polecat, base, place)
    return Sandbox(driver=layout.driver, path=place, branch=polecat.branch, base_sha=base)


def _build(layout: Layout, rig: Rig, polecat: Polecat, base: str, place: str) -> None:
    label = label_of(polecat.branch)
    os.makedirs(polecat.slot_dir, exist_ok=True)
    for name in os.listdir(polecat.slot_dir):
        if name.startswith(".making-"):  # of former polecats of the slot too
            trash.discard(os.path.join(polecat.slot_dir, name), trash_of(rig), label)
    layout.drop(rig, polecat.branch)
    # a new name each time: a git that outlived a killed VerMAS cannot write into this one
    making = os.path.join(polecat.slot_dir, f".making-{label}-{secrets.token_hex(4)}")
    os.mkdir(making, mode=0o700)
    try:
        _fill(layout, layout.checkout(rig, making, polecat.branch), polecat.branch, base, place)
    except BaseException:
        trash.discard(making, trash_of(rig), label)
        raise
    os.rename(making, place)


def _fill(layout: Layout, checkout: Checkout, branch: str, base: str, place: str) -> None:
    layout.lay_out(checkout, place, base)
    write_line(checkout.file("HEAD"), f"ref: refs/heads/{branch}")
    drop_lock(checkout.common, f"refs/heads/{branch}")
    checkout.git("reset", "-q", "--hard", "--no-recurse-submodules", base)
    if read_ref(checkout.common, f"refs/heads/{branch}") != base:
        raise GitError(f"git did not create the branch {branch} in {checkout.common}")
    write_line(checkout.file(MARK), f"{base} {branch}")


def _base_of_whole(checkout: Checkout, branch: str) -> str:
    """The base of the complete checkout of this very branch at the place, else ""."""
    base, _, made_for = (read_line(checkout.file(MARK)) or "").partition(" ")
    return base if made_for == branch and not link_problem(checkout) else ""


def _untouched(checkout: Checkout, base: str) -> bool:
    found = status(checkout)
    return found.head == base and not found.dirty


def _clear(rig: Rig, polecat: Polecat, checkout: Checkout, *, ours: bool) -> None:
    """Move away what occupies the place; another polecat's sandbox is refused, and what nobody of ours made is kept in the trash."""
    if not ours and git_dir(checkout.path) is not None:
        raise Conflict(f"{checkout.path} is occupied by another checkout; polecat {polecat.id} cannot be placed there")
    stranger = not ours and os.path.isdir(checkout.path) and bool(os.listdir(checkout.path))
    trash.discard(checkout.path, trash_of(rig), label_of(polecat.branch), keep=stranger)
