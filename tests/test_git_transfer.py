"""Commits enter the vault complete, verified and by name only."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from vermas.errors import GitError
from vermas.git import Repository, run
from vermas.testing.plugin import RigFactory
from vermas.testing.town import IDENTITY, git
from vermas.types import Rig


@pytest.fixture
def rig(vermas_rig: RigFactory) -> Rig:
    return vermas_rig()


@pytest.fixture
def vault(rig: Rig) -> Repository:
    return Repository(rig.vault)


def commit(where: str, files: dict[str, bytes], *parents: str) -> str:
    """A commit of just these files, whose loose objects are in `where` only."""
    lines = []
    for name, content in files.items():
        lines.append(f"100644 blob {git(where, 'hash-object', '-w', '--stdin', stdin=content)}\t{name}")
    tree = git(where, "mktree", stdin="\n".join(lines).encode() + b"\n")
    return git(where, "commit-tree", "-m", "work", *(word for parent in parents for word in ("-p", parent)), tree)


def loose(where: str, name: str) -> Path:
    return Path(where, "objects", name[:2], name[2:])


def base_of(vault: Repository) -> str:
    return vault.resolve("refs/vermas/base/main")


def test_a_small_change(rig: Rig, vault: Repository) -> None:
    sha = commit(rig.yard, {"a": b"1", "b": b"2"}, commit(rig.yard, {"a": b"0"}, base_of(vault)))
    vault.fetch(rig.yard, sha, "refs/vermas/test/1")
    assert git(rig.vault, "rev-parse", "refs/vermas/test/1") == sha
    git(rig.vault, "fsck", "--strict", "--connectivity-only")
    assert git(rig.vault, "log", "--format=%s", f"{base_of(vault)}..{sha}").split() == ["work", "work"]


@pytest.mark.parametrize("have", [True, False])
def test_a_large_change_becomes_a_pack(rig: Rig, vault: Repository, have: bool) -> None:
    files = {f"file{number}": b"%d" % number for number in range(90)}
    sha = commit(rig.yard, files, base_of(vault))
    before = len(list(Path(rig.vault, "objects", "pack").glob("*.pack")))
    vault.fetch(rig.yard, sha, "refs/vermas/test/1", have=[base_of(vault)] if have else [])
    assert len(list(Path(rig.vault, "objects", "pack").glob("*.pack"))) == before + 1
    git(rig.vault, "rev-list", "--objects", "--quiet", sha)


def test_packed_and_large_objects(rig: Rig, vault: Repository) -> None:
    sha = commit(rig.yard, {"large": os.urandom(9 << 20)}, base_of(vault))
    git(rig.yard, "update-ref", "refs/heads/mine", sha)
    git(rig.yard, "gc", "-q")
    vault.fetch(rig.yard, sha, "refs/vermas/test/1")
    git(rig.vault, "rev-list", "--objects", "--quiet", sha)


def test_a_merge_of_diverged_histories(rig: Rig, vault: Repository) -> None:
    """Objects that are met by several ways are stored once, after all that they point to."""
    base = base_of(vault)
    one = commit(rig.yard, {"a": b"1"}, base)
    two = commit(rig.yard, {"a": b"2"}, one)
    merge = commit(rig.yard, {"a": b"3"}, two, one)
    vault.fetch(rig.yard, merge, "refs/vermas/test/1")
    git(rig.vault, "fsck", "--strict", "--connectivity-only")


def test_unrelated_history_and_gitlinks(rig: Rig, vault: Repository) -> None:
    tree = git(rig.yard, "mktree", "--missing", stdin=f"160000 commit {'1' * 40}\tsub\n".encode())
    sha = git(rig.yard, "commit-tree", "-m", "a submodule", tree)
    vault.fetch(rig.yard, sha, "refs/vermas/test/1")
    assert vault.resolve("refs/vermas/test/1") == sha


def test_what_is_here_is_not_copied(rig: Rig, vault: Repository, tmp_path: Path) -> None:
    vault.fetch(tmp_path, base_of(vault), "refs/vermas/test/1")
    assert vault.ref("refs/vermas/test/1") == base_of(vault)


def test_from_a_checkout_and_from_several(rig: Rig, vault: Repository, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "copy")
    sha = commit(str(tmp_path / "copy"), {"a": b"1"})
    with pytest.raises(GitError, match="no git repository at"):
        vault.fetch(tmp_path / "nothing", sha, "refs/vermas/test/1")
    vault.fetch((tmp_path / "nothing", tmp_path / "copy", rig.yard), sha, "refs/vermas/test/1")
    assert vault.ref("refs/vermas/test/1") == sha


@pytest.mark.parametrize("missing", ["blob", "tree", "parent"])
def test_an_incomplete_commit_is_refused(rig: Rig, vault: Repository, missing: str) -> None:
    parent = commit(rig.yard, {"a": b"0"}, base_of(vault))
    sha = commit(rig.yard, {"a": b"1"}, parent)
    name = {"blob": f"{sha}:a", "tree": f"{sha}^{{tree}}", "parent": f"{sha}^"}[missing]
    loose(rig.yard, git(rig.yard, "rev-parse", name)).unlink()
    with pytest.raises(GitError):
        vault.fetch(rig.yard, sha, "refs/vermas/test/1")
    assert vault.ref("refs/vermas/test/1") is None
    assert not vault.has(sha)


@pytest.mark.parametrize("forged", ["blob", "tree", "commit"])
def test_a_forged_object_is_refused(rig: Rig, vault: Repository, forged: str) -> None:
    """Content under a name that is not its own."""
    sha = commit(rig.yard, {"a": b"1"}, base_of(vault))
    name = {"blob": f"{sha}:a", "tree": f"{sha}^{{tree}}", "commit": sha}[forged]
    path = loose(rig.yard, git(rig.yard, "rev-parse", name))
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"blob 4\0evil"))
    with pytest.raises(GitError, match="corrupt"):
        vault.fetch(rig.yard, sha, "refs/vermas/test/1")
    assert vault.ref("refs/vermas/test/1") is None


@pytest.mark.parametrize("entry", [".git", "..", ".GIT"])
def test_a_tree_with_a_forbidden_name_is_refused(rig: Rig, vault: Repository, entry: str) -> None:
    blob = git(rig.yard, "hash-object", "-w", "--stdin", stdin=b"x")
    raw = b"100644 " + entry.encode() + b"\0" + bytes.fromhex(blob)
    tree = git(rig.yard, "hash-object", "-w", "--literally", "-t", "tree", "--stdin", stdin=raw)
    sha = git(rig.yard, "commit-tree", "-m", "trap", tree)
    with pytest.raises(GitError, match="forbidden name"):
        vault.fetch(rig.yard, sha, "refs/vermas/test/1")


@pytest.mark.parametrize("name", ["main", "HEAD", "--upload-pack=touch pwned", "a" * 39, "A" * 40, ""])
def test_only_full_names(rig: Rig, vault: Repository, name: str) -> None:
    with pytest.raises((GitError, ValueError)):
        vault.fetch(rig.yard, name, "refs/vermas/test/1")


def test_nothing_of_the_source_is_obeyed(rig: Rig, vault: Repository, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    git(rig.yard, "config", "uploadpack.packObjectsHook", f"touch {canary};")
    git(rig.yard, "config", "core.alternateRefsCommand", f"touch {canary}")
    hooks = Path(rig.yard, "hooks")
    hooks.mkdir(exist_ok=True)
    for hook in ("post-upload-pack", "reference-transaction"):
        (hooks / hook).write_text(f"#!/bin/sh\ntouch {canary}\n")
        (hooks / hook).chmod(0o755)
    small = commit(rig.yard, {"a": b"1"}, base_of(vault))
    large = commit(rig.yard, {f"file{number}": b"%d" % number for number in range(90)}, small)
    vault.fetch(rig.yard, small, "refs/vermas/test/1")
    vault.fetch(rig.yard, large, "refs/vermas/test/2")
    assert not canary.exists()


def test_the_same_input_gives_the_same_commit_as_git(rig: Rig, vault: Repository) -> None:
    base = base_of(vault)
    tree = vault.commit(base).tree
    ours = vault.commit_tree(tree, [base], "A subject\n\nand a body", "Test <test@example.org>", 1_700_000_000)
    dates = {"GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    env = {**dates, **{name: IDENTITY[name] for name in IDENTITY if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))}}
    theirs = run(rig.vault, "commit-tree", tree, "-p", base, input=b"A subject\n\nand a body\n", env=env).text
    assert ours == theirs
    assert vault.commit_tree(tree, [base], "A subject\n\nand a body", "Test <test@example.org>", 1_700_000_000) == ours
