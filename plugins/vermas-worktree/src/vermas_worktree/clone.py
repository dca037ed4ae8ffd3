"""The `clone` sandbox: a repository of its own that borrows the vault's objects, as `git clone --shared` makes it.

Its branches, stash and configuration are nobody else's, so agents cannot get into each other's way; only commits are brought home.
"""

from __future__ import annotations

import os

from vermas.git.files import make_git_dir
from vermas.hookspecs import hookimpl
from vermas.types import Check, Polecat, Rig, Sandbox, SandboxState
from vermas_worktree import building, doctor, looking, removing, saving
from vermas_worktree.checkout import Checkout, Layout


def _checkout(rig: Rig, path: str, branch: str) -> Checkout:
    own = os.path.join(path, ".git")
    return Checkout(path, own, own, rig.vault)


def _lay_out(checkout: Checkout, place: str, base: str) -> None:
    make_git_dir(checkout.git_dir, os.path.join(checkout.vault, "objects"), "ref: refs/heads/main", like=base)


def _drop(rig: Rig, branch: str) -> None:
    """Nothing of a clone lies outside of its files."""


LAYOUT = Layout("clone", _checkout, _lay_out, _drop)


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
