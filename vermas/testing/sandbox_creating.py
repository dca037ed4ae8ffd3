"""`SandboxContract`, part 1: making a sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest

from vermas.errors import VermasError
from vermas.testing.fresh import Call, FreshCall
from vermas.testing.sandbox_bench import FILES, SandboxBench, write
from vermas.testing.town import git
from vermas.types import Sandbox, from_json, to_json

T = TypeVar("T")

PLACES = ("two  spaces", "ünï-漢字", "co:lon", 'quo"te', "new\nline", "-dash", "$(touch pwned)", "%s#{x}")


class CreateCases:
    """Creating: whole, at the right commit, on the right branch, whatever happened before."""

    plugin: ClassVar[str]

    def test_has_the_files_of_the_base(self, sandboxes: SandboxBench) -> None:
        """Byte for byte, line ends included."""
        sandbox = sandboxes.create()
        for name, content in FILES.items():
            assert Path(sandbox.path, name).read_bytes() == (content if isinstance(content, bytes) else content.encode())

    def test_is_clean_on_its_branch_at_the_base(self, sandboxes: SandboxBench) -> None:
        """For the provider and for git as the agent runs it; nothing extra lies in it, ignored or not."""
        polecat = sandboxes.polecat()
        sandbox = sandboxes.create(polecat)
        state = sandboxes.inspect(sandbox)
        assert (state.kind, state.head, state.branch, state.commits) == ("clean", sandboxes.base, polecat.branch, 0), state.evidence
        assert git(sandbox.path, "rev-parse", "HEAD") == sandboxes.base
        assert git(sandbox.path, "symbolic-ref", "HEAD") == f"refs/heads/{polecat.branch}"
        assert git(sandbox.path, "status", "--porcelain", "--ignored") == ""

    def test_the_handle_says_where_it_is(self, sandboxes: SandboxBench) -> None:
        """`driver` is the plugin's name, the place is `<slot>/<rig>`, and the handle survives JSON."""
        polecat = sandboxes.polecat()
        sandbox = sandboxes.create(polecat)
        assert sandbox == Sandbox(
            driver=self.plugin, path=os.path.join(polecat.slot_dir, sandboxes.rig.name), branch=polecat.branch, base_sha=sandboxes.base
        )
        assert from_json(Sandbox, json.loads(json.dumps(to_json(sandbox)))) == sandbox

    def test_an_agent_can_commit(self, sandboxes: SandboxBench) -> None:
        """With git as it is."""
        sandbox = sandboxes.create()
        head = sandboxes.commit(sandbox)
        assert sandboxes.inspect(sandbox).head == head

    def test_again_is_the_same(self, sandboxes: SandboxBench) -> None:
        """Called twice, the second call changes nothing."""
        polecat = sandboxes.polecat()
        sandbox = sandboxes.create(polecat)
        inode = os.stat(sandbox.path).st_ino
        assert sandboxes.create(polecat) == sandbox
        assert os.stat(sandbox.path).st_ino == inode

    def test_again_never_undoes_work(self, sandboxes: SandboxBench) -> None:
        """Even a call that should not have happened loses nothing: with the same base, or with another one."""
        polecat = sandboxes.polecat()
        sandbox = sandboxes.create(polecat)
        head = sandboxes.commit(sandbox)
        write(sandbox, "notes.txt", "precious\n")
        sandboxes.create(polecat)
        later = sandboxes.create(polecat, base=_next_commit(sandboxes))
        assert later.base_sha == sandboxes.base
        assert git(sandbox.path, "rev-parse", "HEAD") == head
        assert Path(sandbox.path, "notes.txt").read_text() == "precious\n"

    def test_from_a_commit_that_only_the_vault_has(self, sandboxes: SandboxBench) -> None:
        """The base is the commit named, not what some branch says; git works on from there."""
        base = _next_commit(sandboxes)
        sandbox = sandboxes.create(base=base)
        assert Path(sandbox.path, "later.txt").read_text() == "later\n"
        sandboxes.commit(sandbox)
        assert sandboxes.inspect(sandbox).commits == 1

    def test_keeps_links_and_modes(self, sandboxes: SandboxBench) -> None:
        """Executable files and symbolic links, also dangling ones."""
        first = sandboxes.create()
        path = write(first, "run.sh", "#!/bin/sh\n")
        path.chmod(0o755)
        Path(first.path, "link").symlink_to("nowhere")
        git(first.path, "add", "-A")
        git(first.path, "commit", "-q", "-m", "modes")
        base = sandboxes.rescue(first)
        second = sandboxes.create(sandboxes.polecat("slot1"), base=base)
        assert os.access(Path(second.path, "run.sh"), os.X_OK)
        assert os.readlink(Path(second.path, "link")) == "nowhere"

    @pytest.mark.parametrize(
        "remains", ["an empty directory", "files without git", "a .git that leads nowhere", "a file", "a dangling link"]
    )
    def test_over_remains(self, sandboxes: SandboxBench, remains: str) -> None:
        """What an interrupted attempt may have left at the place is in nobody's way."""
        polecat = sandboxes.polecat()
        place = Path(polecat.slot_dir, sandboxes.rig.name)
        if remains == "a file":
            place.write_text("?")
        elif remains == "a dangling link":
            place.symlink_to("nowhere")
        else:
            place.mkdir()
        if remains == "files without git":
            (place / "README.md").write_text("hel")
        elif remains == "a .git that leads nowhere":
            (place / ".git").write_text("gitdir: /nowhere/at/all\n")
        assert sandboxes.inspect(sandboxes.create(polecat)).kind == "clean"

    @pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.005, 0.01, 0.02])
    def test_after_a_kill(self, sandboxes: SandboxBench, delay_s: float) -> None:
        """Killed at any moment while it is made, it is made whole the next time."""
        polecat = sandboxes.polecat()
        arguments = {"rig": sandboxes.rig, "polecat": polecat, "base": sandboxes.base}
        call = FreshCall(Call(plugin=self.plugin, hook="sandbox_create", arguments=arguments, stay=True))
        call.about_to()
        try:
            call.process.wait(delay_s)
        except subprocess.TimeoutExpired:
            pass
        call.kill()
        sandbox = patiently(lambda: sandboxes.create(polecat))
        assert sandboxes.inspect(sandbox).kind == "clean"
        assert git(sandbox.path, "status", "--porcelain", "--ignored") == ""
        git(sandboxes.rig.yard, "rev-list", "--all")
        git(sandboxes.rig.yard, "worktree", "list")

    def test_without_the_base(self, sandboxes: SandboxBench) -> None:
        """A base that does not exist, or is no full name, raises; nothing is left at the place, and the next call works."""
        polecat = sandboxes.polecat()
        for base in ("0123456789" * 4, "main", "--help"):
            with pytest.raises(Exception, match=r".+"):
                sandboxes.create(polecat, base=base)
            assert not os.path.lexists(os.path.join(polecat.slot_dir, sandboxes.rig.name))
        assert sandboxes.inspect(sandboxes.create(polecat)).kind == "clean"

    def test_never_over_another_polecats_sandbox(self, sandboxes: SandboxBench) -> None:
        """A slot that is still occupied is an error, not a loss."""
        sandbox = sandboxes.create(sandboxes.polecat("slot0"))
        write(sandbox, "notes.txt", "precious\n")
        with pytest.raises(Exception, match=r".+"):
            sandboxes.create(sandboxes.polecat("slot0"))
        assert Path(sandbox.path, "notes.txt").read_text() == "precious\n"
        assert sandboxes.inspect(sandbox).kind == "dirty"

    def test_many_at_once(self, sandboxes: SandboxBench) -> None:
        """From several threads for different polecats of one rig."""
        polecats = [sandboxes.polecat(f"slot{number}") for number in range(12)]
        with ThreadPoolExecutor(6) as pool:
            made = list(pool.map(sandboxes.create, polecats))
        assert [sandboxes.inspect(sandbox).kind for sandbox in made] == ["clean"] * 12

    @pytest.mark.parametrize("name", PLACES)
    def test_in_odd_places(self, sandboxes: SandboxBench, name: str) -> None:
        """Whatever a directory above is called, all four hooks work and nothing in the name runs."""
        rig = sandboxes.make_rig(town=str(sandboxes.tmp_path / name))
        sandbox = sandboxes.create(rig=rig)
        sandboxes.commit(sandbox)
        write(sandbox, "notes.txt", "a note\n")
        state = sandboxes.inspect(sandbox, rig)
        assert (state.kind, state.commits, state.untracked) == ("dirty", 1, 1), state.evidence
        sandboxes.rescue(sandbox, rig)
        sandboxes.remove(sandbox, rig)
        assert not os.path.lexists(sandbox.path)


def patiently(act: Callable[[], T], deadline_s: float = 10.0) -> T:
    """Repeat what may fail while a git outlives its killed parent; VerMAS itself waits for such children by its lock."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            return act()
        except VermasError:
            if time.monotonic() > end:
                raise


def _next_commit(sandboxes: SandboxBench) -> str:
    """A commit on top of the base that is in the vault and nowhere else."""
    blob = git(sandboxes.rig.vault, "hash-object", "-w", "--stdin", stdin=b"later\n")
    listing = git(sandboxes.rig.vault, "ls-tree", sandboxes.base)
    tree = git(sandboxes.rig.vault, "mktree", stdin=f"{listing}\n100644 blob {blob}\tlater.txt\n".encode())
    return sandboxes.vault.commit_tree(tree, [sandboxes.base], "later", "Test <test@example.org>", 1)
