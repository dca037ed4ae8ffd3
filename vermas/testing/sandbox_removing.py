"""`SandboxContract`, part 4: removing a sandbox whose content is safe."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from vermas.testing.fresh import Call, FreshCall
from vermas.testing.sandbox_bench import SandboxBench, write
from vermas.testing.sandbox_creating import patiently
from vermas.testing.sandbox_states import OPERATIONS
from vermas.testing.town import git


class RemoveCases:
    """Removing: all of it, nothing else, and again without harm."""

    plugin: ClassVar[str]

    def test_frees_the_place(self, sandboxes: SandboxBench) -> None:
        """For the next polecat in the same slot, on the same bead or another."""
        sandbox = sandboxes.create(sandboxes.polecat("slot0"))
        sandboxes.commit(sandbox)
        sandboxes.rescue(sandbox)
        sandboxes.remove(sandbox)
        assert not os.path.lexists(sandbox.path)
        following = sandboxes.create(sandboxes.polecat("slot0"))
        assert following.path == sandbox.path
        assert sandboxes.inspect(following).kind == "clean"
        assert not Path(following.path, "work.txt").exists()

    def test_is_missing_afterwards(self, sandboxes: SandboxBench) -> None:
        """Inspected with the old handle."""
        sandbox = sandboxes.create()
        sandboxes.remove(sandbox)
        assert sandboxes.inspect(sandbox).kind == "missing"

    def test_leaves_nothing(self, sandboxes: SandboxBench) -> None:
        """No branch, no worktree entry, no files anywhere under the rig."""
        before = _rig_files(sandboxes)
        sandbox = sandboxes.create()
        sandboxes.commit(sandbox)
        write(sandbox, "notes.txt", "a note\n")
        sandboxes.rescue(sandbox)
        sandboxes.remove(sandbox)
        assert sandbox.branch not in git(sandboxes.rig.yard, "for-each-ref")
        assert len(git(sandboxes.rig.yard, "worktree", "list").splitlines()) == 1
        assert _rig_files(sandboxes) == before

    def test_twice(self, sandboxes: SandboxBench) -> None:
        """The second time is success."""
        sandbox = sandboxes.create()
        sandboxes.remove(sandbox)
        sandboxes.remove(sandbox)

    def test_never_made_or_removed_by_hand(self, sandboxes: SandboxBench) -> None:
        """An absent one is success, and its remains elsewhere go."""
        sandbox = sandboxes.create()
        shutil.rmtree(sandbox.path)
        sandboxes.remove(sandbox)
        assert len(git(sandboxes.rig.yard, "worktree", "list").splitlines()) == 1

    @pytest.mark.parametrize("delay_s", [0.0, 0.0005, 0.001, 0.002, 0.004])
    def test_after_a_kill(self, sandboxes: SandboxBench, delay_s: float) -> None:
        """Killed at any moment, it is finished the next time."""
        sandbox = sandboxes.create(sandboxes.polecat("slot0"))
        for number in range(200):
            write(sandbox, f"many/{number}.txt", "x")
        sandboxes.rescue(sandbox)
        arguments = {"rig": sandboxes.rig, "sandbox": sandbox}
        call = FreshCall(Call(plugin=self.plugin, hook="sandbox_remove", arguments=arguments, stay=True))
        call.about_to()
        try:
            call.process.wait(delay_s)
        except subprocess.TimeoutExpired:
            pass
        call.kill()
        patiently(lambda: sandboxes.remove(sandbox))
        assert not os.path.lexists(sandbox.path)
        assert sandbox.branch not in git(sandboxes.rig.yard, "for-each-ref")
        assert sandboxes.inspect(sandboxes.create(sandboxes.polecat("slot0"))).kind == "clean"

    def test_leaves_the_others(self, sandboxes: SandboxBench) -> None:
        """Neighbours are untouched, work and all."""
        mine, other = sandboxes.create(sandboxes.polecat("slot0")), sandboxes.create(sandboxes.polecat("slot1"))
        head = sandboxes.commit(other)
        write(other, "notes.txt", "precious\n")
        sandboxes.remove(mine)
        seen = sandboxes.inspect(other)
        assert (seen.kind, seen.head, seen.untracked) == ("dirty", head, 1)

    def test_read_only_directories(self, sandboxes: SandboxBench) -> None:
        """As build tools and package managers make them."""
        sandbox = sandboxes.create()
        path = write(sandbox, "build/cache/file", "x")
        path.chmod(0o400)
        path.parent.chmod(0o500)
        path.parent.parent.chmod(0o100)
        before = _trash(sandboxes)
        sandboxes.remove(sandbox)
        assert not os.path.lexists(sandbox.path)
        assert _trash(sandboxes) == before

    def test_deep_directories(self, sandboxes: SandboxBench) -> None:
        """Deeper than a path may be long, and than a stack may be deep."""
        sandbox = sandboxes.create()
        here = os.open(sandbox.path, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("directory", dir_fd=here)
            inner = os.open("directory", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(here)
        sandboxes.remove(sandbox)
        assert not os.path.lexists(sandbox.path)
        assert _trash(sandboxes) == []

    def test_never_through_links(self, sandboxes: SandboxBench) -> None:
        """What a link points at stays."""
        outside = sandboxes.tmp_path / "outside"
        outside.mkdir()
        (outside / "canary").write_text("alive\n")
        sandbox = sandboxes.create()
        Path(sandbox.path, "link").symlink_to(outside)
        Path(sandbox.path, "build").symlink_to(outside)
        sandboxes.remove(sandbox)
        assert (outside / "canary").read_text() == "alive\n"

    @pytest.mark.parametrize(("operation", "state"), OPERATIONS.items(), ids=OPERATIONS)
    def test_amid_an_operation(self, sandboxes: SandboxBench, operation: str, state: object) -> None:
        """Rescued first, any state goes."""
        sandbox = sandboxes.create()
        assert callable(state)
        state(sandbox)
        sandboxes.rescue(sandbox)
        sandboxes.remove(sandbox)
        assert not os.path.lexists(sandbox.path), operation
        assert len(git(sandboxes.rig.yard, "worktree", "list").splitlines()) == 1

    def test_after_the_agent_packed(self, sandboxes: SandboxBench) -> None:
        """A packed branch goes too."""
        sandbox = sandboxes.create()
        sandboxes.commit(sandbox)
        git(sandbox.path, "gc", "-q")
        sandboxes.rescue(sandbox)
        sandboxes.remove(sandbox)
        assert sandbox.branch not in git(sandboxes.rig.yard, "for-each-ref")

    def test_many_at_once(self, sandboxes: SandboxBench) -> None:
        """Removing some while others are made."""
        first = [sandboxes.create(sandboxes.polecat(f"slot{number}")) for number in range(6)]
        polecats = [sandboxes.polecat(f"other{number}") for number in range(6)]
        with ThreadPoolExecutor(6) as pool:
            removed = [pool.submit(sandboxes.remove, sandbox) for sandbox in first]
            made = [pool.submit(sandboxes.create, polecat) for polecat in polecats]
            assert [future.result() for future in removed] == [None] * 6
        assert [sandboxes.inspect(future.result()).kind for future in made] == ["clean"] * 6
        assert not any(os.path.lexists(sandbox.path) for sandbox in first)


def _rig_files(sandboxes: SandboxBench) -> set[str]:
    """The directories of the rig outside of the object stores and the polecats' own."""
    found = set()
    for directory, directories, _ in os.walk(sandboxes.rig.path):
        directories[:] = [name for name in directories if name not in ("objects", "logs", "refs", "polecats", "worktrees", "trash")]
        found.add(directory)
    return found | set(_trash(sandboxes))


def _trash(sandboxes: SandboxBench) -> list[str]:
    trash = Path(sandboxes.rig.path, "trash")
    return sorted(path.name for path in trash.iterdir()) if trash.exists() else []
