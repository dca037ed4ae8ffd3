"""What the sandbox contract does not say, because only worktrees of a shared yard have it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from vermas.testing.check_plugin import check_plugin
from vermas.testing.plugin import OriginFactory, PolecatFactory, RigFactory
from vermas.testing.sandbox_bench import SandboxBench, write
from vermas.testing.town import git


@pytest.fixture
def sandboxes(tmp_path: Path, vermas_origin: OriginFactory, vermas_rig: RigFactory, vermas_polecat: PolecatFactory) -> SandboxBench:
    return SandboxBench("worktree", {}, tmp_path, vermas_origin, vermas_rig, vermas_polecat)


@pytest.mark.parametrize("name", ["worktree", "clone"])
def test_they_are_sound_plugins(name: str) -> None:
    check_plugin(name)


def test_git_knows_the_worktree(sandboxes: SandboxBench) -> None:
    polecat = sandboxes.polecat()
    sandbox = sandboxes.create(polecat)
    listing = git(sandboxes.rig.yard, "worktree", "list", "--porcelain")
    assert f"worktree {sandbox.path}\nHEAD {sandboxes.base}\nbranch refs/heads/{polecat.branch}\nlocked" in listing
    git(sandboxes.rig.yard, "fsck", "--strict")


def test_prune_and_gc_of_an_agent_leave_it_alone(sandboxes: SandboxBench) -> None:
    """Even while the checkout is out of sight."""
    sandbox = sandboxes.create()
    head = sandboxes.commit(sandbox)
    hidden = Path(sandbox.path).rename(Path(sandbox.path).with_name("hidden"))
    git(sandboxes.rig.yard, "worktree", "prune", "--expire=now")
    git(sandboxes.rig.yard, "-c", "gc.worktreePruneExpire=now", "gc", "-q")
    hidden.rename(sandbox.path)
    seen = sandboxes.inspect(sandbox)
    assert (seen.kind, seen.head) == ("clean", head), seen.evidence


def test_a_moved_town_goes_on(sandboxes: SandboxBench) -> None:
    """The links between checkout and yard are relative."""
    import dataclasses

    rig = sandboxes.make_rig(town=str(sandboxes.tmp_path / "before"))
    sandbox = sandboxes.create(rig=rig)
    write(sandbox, "notes.txt", "a note\n")
    os.rename(sandboxes.tmp_path / "before", sandboxes.tmp_path / "after")
    moved = {name: getattr(rig, name).replace("/before", "/after") for name in ("town", "path", "yard", "vault")}
    rig = dataclasses.replace(rig, **moved)
    sandbox = dataclasses.replace(sandbox, path=sandbox.path.replace("/before", "/after"))
    sandboxes.commit(sandbox)
    seen = sandboxes.inspect(sandbox, rig)
    assert (seen.kind, seen.commits, seen.untracked) == ("dirty", 1, 1), seen.evidence


@pytest.mark.parametrize("packed", [False, True])
def test_a_branch_with_unsaved_commits_stays(sandboxes: SandboxBench, packed: bool) -> None:
    """Removed without a rescue (which the core never does), the commits can still be found."""
    sandbox = sandboxes.create()
    head = sandboxes.commit(sandbox)
    if packed:
        git(sandboxes.rig.yard, "pack-refs", "--all")
    sandboxes.remove(sandbox)
    assert git(sandboxes.rig.yard, "rev-parse", f"refs/heads/{sandbox.branch}") == head


@pytest.mark.parametrize("file", ["HEAD", "gitdir", "commondir", "index", "locked"])
def test_a_broken_entry_is_made_anew(sandboxes: SandboxBench, file: str) -> None:
    """What a killed attempt left in the yard, whatever is missing: later sandboxes and the yard itself work."""
    polecat = sandboxes.polecat()
    sandbox = sandboxes.create(polecat)
    entry = Path(git(sandbox.path, "rev-parse", "--path-format=absolute", "--git-dir"))
    (entry / file).unlink()
    shutil.rmtree(sandbox.path)
    assert sandboxes.inspect(sandboxes.create(polecat)).kind == "clean"
    assert len(git(sandboxes.rig.yard, "worktree", "list").splitlines()) == 2
    git(sandboxes.rig.yard, "rev-list", "--all")


def test_the_files_are_saved_when_the_entry_is_lost(sandboxes: SandboxBench) -> None:
    sandbox = sandboxes.create()
    head = sandboxes.commit(sandbox)
    write(sandbox, "notes.txt", "a note\n")
    shutil.rmtree(git(sandbox.path, "rev-parse", "--path-format=absolute", "--git-dir"))
    assert sandboxes.inspect(sandbox).kind == "unknown"
    sha = sandboxes.rescue(sandbox)
    assert sandboxes.saved(sha, "notes.txt") == b"a note\n"
    assert head in sandboxes.reachable(sha)


def test_a_base_is_in_the_yard_without_a_copy(sandboxes: SandboxBench) -> None:
    """The yard borrows the vault's objects; when an agent cut that, the next sandbox mends it."""
    alternates = Path(sandboxes.rig.yard, "objects/info/alternates")
    alternates.unlink(missing_ok=True)
    tree = sandboxes.vault.commit(sandboxes.base).tree
    base = sandboxes.vault.commit_tree(tree, [sandboxes.base], "later", "Test <test@example.org>", 1)
    sandbox = sandboxes.create(base=base)
    sandboxes.commit(sandbox)
    assert sandboxes.inspect(sandbox).commits == 1


def test_foreign_files_at_the_place_are_kept(sandboxes: SandboxBench) -> None:
    """Moved to the trash, where the doctor shows them, never deleted."""
    polecat = sandboxes.polecat()
    place = Path(polecat.slot_dir, sandboxes.rig.name)
    place.mkdir()
    (place / "thesis.tex").write_text("ten years\n")
    sandboxes.remove(sandboxes.create(polecat))
    kept = list(Path(sandboxes.rig.path, "trash").glob("foreign-*/thesis.tex"))
    assert [path.read_text() for path in kept] == ["ten years\n"]
    checks = {check.name: check for check in sandboxes.hooks.vermas_doctor(rig=sandboxes.rig)[0]}
    assert checks["trash"].status == "warning"
    assert checks["git"].status == "ok"


def test_few_processes(sandboxes: SandboxBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One git for a new sandbox, one for a look, none for a removal."""
    trace = sandboxes.tmp_path / "trace"
    wrapper = sandboxes.tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$@" >>{trace}\nexec {shutil.which("git")} "$@"\n')
    wrapper.chmod(0o755)
    from vermas.git import process

    sandbox = sandboxes.create()
    sandboxes.remove(sandbox)
    process.program.cache_clear()
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    try:
        counts = []
        sandbox = sandboxes.create(sandboxes.polecat("slot1"))
        counts.append(len(trace.read_text().splitlines()))
        sandboxes.inspect(sandbox)
        counts.append(len(trace.read_text().splitlines()))
        sandboxes.remove(sandbox)
        counts.append(len(trace.read_text().splitlines()))
    finally:
        process.program.cache_clear()
    assert counts == [1, 2, 2]
