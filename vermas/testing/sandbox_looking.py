"""`SandboxContract`, part 2: telling the states of a sandbox apart without touching it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from vermas.testing.fresh import call_in_fresh_process
from vermas.testing.sandbox_bench import SandboxBench, fingerprint, write
from vermas.testing.sandbox_states import DIRTY, OPERATIONS, UNMERGED, merge_conflict, unmerge
from vermas.testing.town import git
from vermas.types import Sandbox


class LookCases:
    """Inspecting: every state has its name, a failed look is `unknown`, and nothing changes by being looked at."""

    plugin: ClassVar[str]

    @pytest.mark.parametrize("state", DIRTY.values(), ids=DIRTY)
    def test_unsaved_is_dirty(self, sandboxes: SandboxBench, state: object) -> None:
        """Whatever `git status` would show."""
        sandbox = sandboxes.create()
        assert callable(state)
        state(sandbox)
        seen = sandboxes.inspect(sandbox)
        assert seen.kind == "dirty"
        assert seen.changed + seen.untracked > 0
        assert seen.evidence
        assert seen.head == sandboxes.base

    def test_counts_changed_and_untracked(self, sandboxes: SandboxBench) -> None:
        """By path."""
        sandbox = sandboxes.create()
        write(sandbox, "README.md", "changed\n")
        write(sandbox, "src/app.py", "changed\n")
        write(sandbox, "one.txt", "")
        seen = sandboxes.inspect(sandbox)
        assert (seen.changed, seen.untracked) == (2, 1)

    def test_ignored_files_are_clean(self, sandboxes: SandboxBench) -> None:
        """Build results are not work."""
        sandbox = sandboxes.create()
        write(sandbox, "debug.log", "x")
        write(sandbox, "build/out.o", "x")
        assert sandboxes.inspect(sandbox).kind == "clean"

    def test_touched_files_are_clean(self, sandboxes: SandboxBench) -> None:
        """A new time with the old content is no change."""
        sandbox = sandboxes.create()
        os.utime(Path(sandbox.path, "README.md"), (1, 1))
        assert sandboxes.inspect(sandbox).kind == "clean"

    def test_counts_commits(self, sandboxes: SandboxBench) -> None:
        """Those that the base has not, along merges too."""
        sandbox = sandboxes.create()
        for number in range(3):
            sandboxes.commit(sandbox, f"{number}.txt")
            assert sandboxes.inspect(sandbox).commits == number + 1
        git(sandbox.path, "checkout", "-q", "-b", "side", sandboxes.base)
        head = sandboxes.commit(sandbox, "side.txt")
        git(sandbox.path, "checkout", "-q", sandbox.branch)
        git(sandbox.path, "merge", "-q", "--no-ff", "-m", "merge", "side")
        seen = sandboxes.inspect(sandbox)
        assert (seen.kind, seen.commits) == ("clean", 5)
        assert head != seen.head

    def test_counts_packed_commits(self, sandboxes: SandboxBench) -> None:
        """Also after an agent's `git gc`."""
        sandbox = sandboxes.create()
        sandboxes.commit(sandbox)
        git(sandbox.path, "gc", "-q")
        seen = sandboxes.inspect(sandbox)
        assert (seen.kind, seen.commits, seen.branch) == ("clean", 1, sandbox.branch)

    @pytest.mark.parametrize(("kind", "stages"), UNMERGED.items())
    def test_unmerged(self, sandboxes: SandboxBench, kind: str, stages: str) -> None:
        """All seven kinds are conflicts and keep their name."""
        sandbox = sandboxes.create()
        unmerge(sandbox, stages)
        seen = sandboxes.inspect(sandbox)
        assert seen.kind == "conflicted"
        assert seen.conflicts == (f"{kind} src/app.py",)

    @pytest.mark.parametrize(("operation", "state"), OPERATIONS.items(), ids=OPERATIONS)
    def test_operation_in_progress(self, sandboxes: SandboxBench, operation: str, state: object) -> None:
        """Never clean, and named."""
        sandbox = sandboxes.create()
        assert callable(state)
        state(sandbox)
        seen = sandboxes.inspect(sandbox)
        assert seen.kind in ("dirty", "conflicted")
        assert seen.operation == operation

    def test_conflict_of_a_merge(self, sandboxes: SandboxBench) -> None:
        """Operation and conflict together."""
        sandbox = sandboxes.create()
        merge_conflict(sandbox)
        seen = sandboxes.inspect(sandbox)
        assert (seen.kind, seen.operation, seen.conflicts) == ("conflicted", "merge", ("AA README.md",)) or seen.conflicts == (
            "UU README.md",
        )

    def test_detached(self, sandboxes: SandboxBench) -> None:
        """No branch."""
        sandbox = sandboxes.create()
        head = sandboxes.commit(sandbox)
        git(sandbox.path, "checkout", "-q", "--detach")
        seen = sandboxes.inspect(sandbox)
        assert (seen.detached, seen.branch, seen.head, seen.commits) == (True, "", head, 1)

    def test_unborn(self, sandboxes: SandboxBench) -> None:
        """A branch without a commit."""
        sandbox = sandboxes.create()
        git(sandbox.path, "checkout", "-q", "--orphan", "fresh")
        seen = sandboxes.inspect(sandbox)
        assert (seen.unborn, seen.branch, seen.head, seen.kind) == (True, "fresh", "", "dirty")

    def test_on_another_branch(self, sandboxes: SandboxBench) -> None:
        """The state says which."""
        sandbox = sandboxes.create()
        git(sandbox.path, "checkout", "-q", "-b", "elsewhere")
        assert sandboxes.inspect(sandbox).branch == "elsewhere"

    def test_stash_is_unsaved_work(self, sandboxes: SandboxBench) -> None:
        """An entry that nobody popped."""
        sandbox = sandboxes.create()
        write(sandbox, "README.md", "stashed\n")
        git(sandbox.path, "stash", "-q")
        seen = sandboxes.inspect(sandbox)
        assert (seen.stashes, seen.changed) == (1, 0)
        assert seen.kind != "clean"

    def test_others_stashes_are_theirs(self, sandboxes: SandboxBench) -> None:
        """Also where sandboxes share one stash."""
        mine, other = sandboxes.create(sandboxes.polecat("slot0")), sandboxes.create(sandboxes.polecat("slot1"))
        write(other, "README.md", "stashed\n")
        git(other.path, "stash", "-q")
        assert sandboxes.inspect(mine).kind == "clean"
        assert sandboxes.inspect(other).stashes == 1

    def test_submodules(self, sandboxes: SandboxBench) -> None:
        """One with another commit, or with changes inside, is named."""
        sandbox = sandboxes.create()
        add_submodule(sandboxes, sandbox)
        assert sandboxes.inspect(sandbox).kind == "clean"
        inner = Path(sandbox.path, "sub")
        (inner / "README.md").write_text("changed inside\n")
        seen = sandboxes.inspect(sandbox)
        assert (seen.kind, seen.submodules) == ("dirty", ("sub",))
        git(inner, "commit", "-q", "-a", "-m", "inside")
        seen = sandboxes.inspect(sandbox)
        assert (seen.kind, seen.submodules) == ("dirty", ("sub",))

    def test_a_repository_inside(self, sandboxes: SandboxBench) -> None:
        """Made or cloned by the agent: untracked work."""
        sandbox = sandboxes.create()
        git(sandbox.path, "init", "-q", "nested")
        write(sandbox, "nested/file.txt", "inside\n")
        seen = sandboxes.inspect(sandbox)
        assert (seen.kind, seen.untracked) == ("dirty", 1)

    def test_missing(self, sandboxes: SandboxBench) -> None:
        """The whole checkout is gone: `missing`, not clean, not an exception."""
        sandbox = sandboxes.create()
        shutil.rmtree(sandbox.path)
        seen = sandboxes.inspect(sandbox)
        assert seen.kind == "missing"
        assert seen.evidence

    @pytest.mark.parametrize("damage", ["index", "HEAD", "git", "place", "elsewhere"])
    def test_damaged_is_unknown(self, sandboxes: SandboxBench, damage: str) -> None:
        """What cannot be looked at is precious: never clean, never missing while files are there."""
        sandbox = sandboxes.create()
        write(sandbox, "notes.txt", "precious\n")
        break_sandbox(sandbox, damage)
        seen = sandboxes.inspect(sandbox)
        assert seen.kind == "unknown"
        assert seen.evidence

    def test_looking_changes_nothing(self, sandboxes: SandboxBench) -> None:
        """Not even the index, which git likes to refresh."""
        sandbox = sandboxes.create()
        write(sandbox, "README.md", "changed\n")
        write(sandbox, "notes.txt", "a note\n")
        os.utime(Path(sandbox.path, "src/app.py"), (1, 1))
        before = fingerprint(sandbox)
        sandboxes.inspect(sandbox)
        assert fingerprint(sandbox) == before

    def test_while_an_agent_holds_the_index(self, sandboxes: SandboxBench) -> None:
        """Its lock is respected and does not hinder."""
        sandbox = sandboxes.create()
        write(sandbox, "README.md", "changed\n")
        lock = Path(git(sandbox.path, "rev-parse", "--path-format=absolute", "--git-path", "index.lock"))
        lock.write_text("")
        assert sandboxes.inspect(sandbox).kind == "dirty"
        assert lock.exists()

    def test_beside_a_working_agent(self, sandboxes: SandboxBench) -> None:
        """Looked at all the time, none of the agent's git commands fails."""
        sandbox = sandboxes.create()
        over = threading.Event()

        def keep_looking() -> None:
            while not over.is_set():
                sandboxes.inspect(sandbox)

        watcher = threading.Thread(target=keep_looking)
        watcher.start()
        try:
            for number in range(8):
                sandboxes.commit(sandbox, f"{number}.txt")
        finally:
            over.set()
            watcher.join()
        assert sandboxes.inspect(sandbox).commits == 8

    def test_from_a_fresh_process(self, sandboxes: SandboxBench) -> None:
        """The handle is all that is needed."""
        sandbox = sandboxes.create()
        sandboxes.commit(sandbox)
        seen = call_in_fresh_process(self.plugin, "sandbox_inspect", rig=sandboxes.rig, sandbox=sandbox)
        assert seen == sandboxes.inspect(sandbox)


def add_submodule(sandboxes: SandboxBench, sandbox: Sandbox) -> None:
    """A committed submodule `sub` of a repository of its own."""
    source = sandboxes.tmp_path / "library"
    git(sandboxes.tmp_path, "clone", "-q", str(sandboxes.origin), str(source))
    git(sandbox.path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(source), "sub")
    git(sandbox.path, "commit", "-q", "-m", "add a submodule")


def break_sandbox(sandbox: Sandbox, damage: str) -> None:
    """Damage the git side of a sandbox; its files stay."""
    link = Path(sandbox.path, ".git")
    if damage in ("index", "HEAD"):
        Path(git(sandbox.path, "rev-parse", "--path-format=absolute", "--git-path", damage)).write_bytes(b"garbage\n")
    elif damage == "place":
        shutil.rmtree(sandbox.path)
        Path(sandbox.path).write_text("a file where the checkout was\n")
    else:
        shutil.rmtree(link) if link.is_dir() else link.unlink()
        if damage == "elsewhere":
            git(sandbox.path, "init", "-q")
