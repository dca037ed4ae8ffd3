"""The `worktree` sandbox: a git worktree of the rig's yard.

The administrative directory is written here, in the layout that gitrepository-layout(5) documents, instead of by `git worktree add`: that
starts four more processes, writes several files that only fit together at the end, and must not run twice at once in one repository.
"""

from __future__ import annotations

import os

from vermas import trash
from vermas.git.files import borrow_objects
from vermas.hookspecs import hookimpl
from vermas.types import Check, Polecat, Rig, Sandbox, SandboxState
from vermas_worktree import building, doctor, looking, removing, saving
from vermas_worktree.checkout import Checkout, Layout, label_of, trash_of, write_line


def _checkout(rig: Rig, path: str, branch: str) -> Checkout:
    return Checkout(path, os.path.join(rig.yard, "worktrees", label_of(branch)), rig.yard, rig.vault)


def _lay_out(checkout: Checkout, place: str, base: str) -> None:
    borrow_objects(checkout.objects, os.path.join(checkout.vault, "objects"))
    os.makedirs(checkout.git_dir)
    # locked: neither `git worktree prune` nor `git gc` of an agent may drop a tree that is out of sight for a moment
    write_line(checkout.file("locked"), "in use by VerMAS")
    write_line(checkout.file("commondir"), "../..")
    write_line(checkout.file("gitdir"), os.path.join(place, ".git"))
    # relative, so that the town may be moved
    write_line(os.path.join(checkout.path, ".git"), f"gitdir: {os.path.relpath(checkout.git_dir, os.path.realpath(checkout.path))}")


def _drop(rig: Rig, branch: str) -> None:
    trash.discard(_checkout(rig, "", branch).git_dir, trash_of(rig), f"{label_of(branch)}-git")


LAYOUT = Layout("worktree", _checkout, _lay_out, _drop)


def _of(rig: Rig, sandbox: Sandbox) -> Checkout:
    return _checkout(rig, sandbox.path, sandbox.branch)


@hookimpl
def vermas_sandbox_create(rig: Rig, polecat: Polecat, base: str) -> Sandbox:
    return building.create(LAYOUT, rig, polecat, base)


@hookimpl
def vermas_sandbox_inspect(rig: Rig, sandbox: Sandbox) -> SandboxState | None:
    return looking.look(_of(rig, sandbox), sandbox.branch, sandbox.base_sha) if sandbox.driver == LAYOUT.driver else None


@hookimpl
def vermas_sandbox_snapshot(rig: Rig, sandbox: Sandbox) -> str | None:
    return saving.snapshot(_of(rig, sandbox), sandbox.branch, sandbox.base_sha) if sandbox.driver == LAYOUT.driver else None


@hookimpl
def vermas_sandbox_remove(rig: Rig, sandbox: Sandbox) -> None:
    if sandbox.driver == LAYOUT.driver:
        removing.remove(LAYOUT, rig, sandbox)


@hookimpl
def vermas_doctor(rig: Rig) -> list[Check]:
    return doctor.checks(rig)
