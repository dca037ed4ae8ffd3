"""`SandboxContract`, part 3: one commit with everything worth keeping."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import ClassVar

import pytest

from vermas.errors import VermasError
from vermas.testing.sandbox_bench import SandboxBench, fingerprint, write
from vermas.testing.sandbox_looking import add_submodule, break_sandbox
from vermas.testing.sandbox_states import DIRTY, OPERATIONS, merge_conflict, rebasing
from vermas.testing.town import git
from vermas.types import Sandbox


class SaveCases:
    """Snapshots: complete, repeatable, fetchable, and the sandbox stays as it is.
    `rescue` is the snapshot as VerMAS takes it, into the vault."""

    plugin: ClassVar[str]

    def test_unchanged_is_the_present_commit(self, sandboxes: SandboxBench) -> None:
        """The base at first, then the agent's commit."""
        sandbox = sandboxes.create()
        assert sandboxes.rescue(sandbox) == sandboxes.base
        head = sandboxes.commit(sandbox)
        assert sandboxes.rescue(sandbox) == head

    @pytest.mark.parametrize("state", DIRTY.values(), ids=DIRTY)
    def test_has_all_files_as_they_are(self, sandboxes: SandboxBench, state: object) -> None:
        """On top of the present commit."""
        sandbox = sandboxes.create()
        head = sandboxes.commit(sandbox)
        assert callable(state)
        state(sandbox)
        sha = sandboxes.rescue(sandbox)
        assert sha != head
        assert head in sandboxes.reachable(sha)
        assert_same_files(sandboxes, sandbox, sha)

    def test_is_repeatable(self, sandboxes: SandboxBench) -> None:
        """The same content has the same name, another one has another."""
        sandbox = sandboxes.create()
        write(sandbox, "notes.txt", "one\n")
        first = sandboxes.snapshot(sandbox)
        assert sandboxes.snapshot(sandbox) == first
        write(sandbox, "notes.txt", "two\n")
        assert sandboxes.snapshot(sandbox) != first

    def test_touches_nothing(self, sandboxes: SandboxBench) -> None:
        """Files, index, branches: all as before."""
        sandbox = sandboxes.create()
        write(sandbox, "README.md", "staged\n")
        git(sandbox.path, "add", "-A")
        write(sandbox, "README.md", "changed\n")
        write(sandbox, "notes.txt", "a note\n")
        before = fingerprint(sandbox)
        sandboxes.snapshot(sandbox)
        assert fingerprint(sandbox) == before

    def test_leaves_ignored_files(self, sandboxes: SandboxBench) -> None:
        """They are not work."""
        sandbox = sandboxes.create()
        write(sandbox, "debug.log", "x")
        write(sandbox, "notes.txt", "a note\n")
        sha = sandboxes.rescue(sandbox)
        assert sandboxes.saved(sha, "debug.log") is None
        assert sandboxes.saved(sha, "notes.txt") == b"a note\n"

    @pytest.mark.parametrize("state", ["staged_then_modified", "staged_new_then_deleted"])
    def test_keeps_the_index(self, sandboxes: SandboxBench, state: str) -> None:
        """What is only staged is in some commit."""
        sandbox = sandboxes.create()
        DIRTY[state](sandbox)
        assert any(b"staged only" in content for content in sandboxes.contents(sandboxes.rescue(sandbox)))

    @pytest.mark.parametrize(("operation", "state"), OPERATIONS.items(), ids=OPERATIONS)
    def test_amid_an_operation(self, sandboxes: SandboxBench, operation: str, state: object) -> None:
        """Both sides, and the files as they are."""
        sandbox = sandboxes.create()
        assert callable(state)
        state(sandbox)
        sides = {git(sandbox.path, "rev-parse", name) for name in ("HEAD", f"refs/heads/{sandbox.branch}")}
        sha = sandboxes.rescue(sandbox)
        assert sides <= sandboxes.reachable(sha), operation
        assert_same_files(sandboxes, sandbox, sha)

    def test_keeps_both_sides_of_a_conflict(self, sandboxes: SandboxBench) -> None:
        """The commit that is merged, too."""
        sandbox = sandboxes.create()
        merge_conflict(sandbox)
        sha = sandboxes.rescue(sandbox)
        assert git(sandbox.path, "rev-parse", "side") in sandboxes.reachable(sha)
        assert b"<<<<<<<" in (sandboxes.saved(sha, "README.md") or b"")

    def test_keeps_what_a_rebase_has_not_replayed(self, sandboxes: SandboxBench) -> None:
        """The branch as it was before."""
        sandbox = sandboxes.create()
        rebasing(sandbox)
        original = git(sandbox.path, "rev-parse", "ORIG_HEAD")
        assert original in sandboxes.reachable(sandboxes.rescue(sandbox))

    def test_keeps_detached_commits(self, sandboxes: SandboxBench) -> None:
        """And the branch that was left, when it has more."""
        sandbox = sandboxes.create()
        tip = sandboxes.commit(sandbox, "on-branch.txt")
        git(sandbox.path, "checkout", "-q", "--detach", sandboxes.base)
        head = sandboxes.commit(sandbox, "detached.txt")
        assert {tip, head} <= sandboxes.reachable(sandboxes.rescue(sandbox))

    def test_keeps_the_files_of_an_unborn_branch(self, sandboxes: SandboxBench) -> None:
        """And the commits of the sandbox's own branch."""
        sandbox = sandboxes.create()
        tip = sandboxes.commit(sandbox)
        git(sandbox.path, "checkout", "-q", "--orphan", "fresh")
        write(sandbox, "notes.txt", "a note\n")
        sha = sandboxes.rescue(sandbox)
        assert sandboxes.saved(sha, "notes.txt") == b"a note\n"
        assert tip in sandboxes.reachable(sha)

    def test_keeps_stash_entries(self, sandboxes: SandboxBench) -> None:
        """All of them, with their untracked files."""
        sandbox = sandboxes.create()
        for number in range(2):
            write(sandbox, "README.md", f"stashed {number}\n")
            write(sandbox, f"new{number}.txt", f"untracked {number}\n")
            git(sandbox.path, "stash", "-q", "-u")
        contents = sandboxes.contents(sandboxes.rescue(sandbox))
        assert {b"stashed 0\n", b"stashed 1\n", b"untracked 0\n", b"untracked 1\n"} <= contents

    @pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
    def test_keeps_changes_that_git_was_told_not_to_see(self, sandboxes: SandboxBench, flag: str) -> None:
        """`git status` calls these clean."""
        sandbox = sandboxes.create()
        git(sandbox.path, "update-index", flag, "README.md")
        write(sandbox, "README.md", "hidden change\n")
        assert sandboxes.saved(sandboxes.rescue(sandbox), "README.md") == b"hidden change\n"

    def test_keeps_submodules(self, sandboxes: SandboxBench) -> None:
        """Changes inside, and commits that were made there."""
        sandbox = sandboxes.create()
        add_submodule(sandboxes, sandbox)
        write(sandbox, "sub/README.md", "committed inside\n")
        git(Path(sandbox.path, "sub"), "commit", "-q", "-a", "-m", "inside")
        git(sandbox.path, "commit", "-q", "-a", "-m", "take the inner commit")
        write(sandbox, "sub/notes.txt", "unsaved inside\n")
        sha = sandboxes.rescue(sandbox)
        assert {b"committed inside\n", b"unsaved inside\n"} <= sandboxes.contents(sha)
        assert sandboxes.rescue(sandbox) == sha

    @pytest.mark.parametrize("born", [True, False])
    def test_keeps_a_repository_inside(self, sandboxes: SandboxBench, born: bool) -> None:
        """Its files, and its commits when it has any."""
        sandbox = sandboxes.create()
        git(sandbox.path, "init", "-q", "deep/nested")
        nested = Path(sandbox.path, "deep/nested")
        if born:
            write(sandbox, "deep/nested/first.txt", "first\n")
            git(nested, "add", "-A")
            git(nested, "commit", "-q", "-m", "first")
            write(sandbox, "deep/nested/first.txt", "second\n")
        write(sandbox, "deep/nested/file.txt", "inside\n")
        contents = sandboxes.contents(sandboxes.rescue(sandbox))
        assert ({b"first\n", b"second\n", b"inside\n"} if born else {b"inside\n"}) <= contents

    def test_does_not_follow_links(self, sandboxes: SandboxBench) -> None:
        """A link is saved as a link."""
        sandbox = sandboxes.create()
        secret = sandboxes.tmp_path / "secret"
        secret.mkdir()
        (secret / "key").write_text("secret\n")
        Path(sandbox.path, "link").symlink_to(secret)
        sha = sandboxes.rescue(sandbox)
        assert b"secret\n" not in sandboxes.contents(sha)
        assert sandboxes.saved(sha, "link") == os.fsencode(secret)

    def test_large_and_empty_files(self, sandboxes: SandboxBench) -> None:
        """9 MB that do not compress, and none."""
        sandbox = sandboxes.create()
        content = os.urandom(9 << 20)
        write(sandbox, "large.bin", content)
        write(sandbox, "empty", b"")
        sha = sandboxes.rescue(sandbox)
        assert sandboxes.saved(sha, "large.bin") == content
        assert sandboxes.saved(sha, "empty") == b""

    def test_many_files(self, sandboxes: SandboxBench) -> None:
        """More than are worth handling one by one."""
        sandbox = sandboxes.create()
        for number in range(1200):
            write(sandbox, f"many/{number % 50}/{number}.txt", f"{number}\n")
        sha = sandboxes.rescue(sandbox)
        assert sandboxes.saved(sha, "many/49/1199.txt") == b"1199\n"

    def test_after_the_agent_packed(self, sandboxes: SandboxBench) -> None:
        """Its `git gc` changes nothing."""
        sandbox = sandboxes.create()
        head = sandboxes.commit(sandbox)
        git(sandbox.path, "gc", "-q")
        assert sandboxes.rescue(sandbox) == head

    @pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
    def test_unreadable_files_raise(self, sandboxes: SandboxBench) -> None:
        """Better no snapshot than one without it."""
        sandbox = sandboxes.create()
        write(sandbox, "closed.txt", "x").chmod(0)
        with pytest.raises(Exception, match=r"closed\.txt"):
            sandboxes.snapshot(sandbox)

    def test_a_special_file_is_no_work(self, sandboxes: SandboxBench) -> None:
        """A pipe has no content to save; the files beside it are saved."""
        sandbox = sandboxes.create()
        os.mkfifo(Path(sandbox.path, "pipe"))
        write(sandbox, "notes.txt", "a note\n")
        assert sandboxes.saved(sandboxes.rescue(sandbox), "notes.txt") == b"a note\n"

    @pytest.mark.parametrize("damage", ["index", "HEAD", "git", "elsewhere"])
    def test_damaged_is_saved_or_refused(self, sandboxes: SandboxBench, damage: str) -> None:
        """With its git side damaged, the files are in the snapshot, or there is none."""
        sandbox = sandboxes.create()
        write(sandbox, "notes.txt", "precious\n")
        break_sandbox(sandbox, damage)
        with contextlib.suppress(VermasError):
            assert sandboxes.saved(sandboxes.rescue(sandbox), "notes.txt") == b"precious\n"
        assert Path(sandbox.path, "notes.txt").read_text() == "precious\n"

    def test_of_a_missing_checkout(self, sandboxes: SandboxBench) -> None:
        """What is left of it, or a refusal: never the base when there were commits that are still to be found."""
        sandbox = sandboxes.create()
        sandboxes.commit(sandbox)
        shutil.rmtree(sandbox.path)
        with contextlib.suppress(VermasError):
            assert sandboxes.snapshot(sandbox) != sandboxes.base


def assert_same_files(sandboxes: SandboxBench, sandbox: Sandbox, sha: str) -> None:
    """The tree of `sha` is what lies in the checkout: content, links, executable bits, nothing more, nothing less."""
    place = sandboxes.tmp_path / f"out-{sha[:12]}"
    git(sandboxes.tmp_path, "clone", "-q", "--shared", "--no-checkout", sandboxes.rig.vault, str(place))
    git(place, "checkout", "-q", "--detach", sha)
    assert _listing(place) == _listing(Path(sandbox.path))


def _listing(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for directory, directories, names in os.walk(root):
        if directory == str(root) and ".git" in directories:
            directories.remove(".git")
        for name in (*directories, *names):
            path = Path(directory, name)
            key = os.path.relpath(path, root)
            if path.is_symlink():
                found[key] = os.readlink(path)
            elif path.is_file() and key != ".git":
                found[key] = (path.read_bytes(), os.access(path, os.X_OK) and bool(path.stat().st_mode & 0o100))
    return found
