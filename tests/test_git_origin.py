"""Making a rig's repositories from an origin, following its target, pushing to it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vermas.errors import GitError
from vermas.git import Repository, create_rig_repositories, default_branch, push, refresh_target, target_ref
from vermas.testing.plugin import OriginFactory
from vermas.testing.town import git


@pytest.fixture
def made(vermas_origin: OriginFactory, tmp_path: Path) -> tuple[Path, Repository, str]:
    """An origin, its vault, and the commit at its target."""
    origin = vermas_origin()
    _, sha = create_rig_repositories(str(origin), None, tmp_path / "yard.git", tmp_path / "repo.git")
    return origin, Repository(tmp_path / "repo.git"), sha


def work(vault: Repository, base: str, text: str = "work") -> str:
    tree = vault.commit(base).tree
    return vault.commit_tree(tree, [base], text, "Test <test@example.org>", 1)


def test_both_repositories_have_the_target(vermas_origin: OriginFactory, tmp_path: Path) -> None:
    origin = vermas_origin()
    yard, vault = tmp_path / "yard.git", tmp_path / "repo.git"
    assert create_rig_repositories(str(origin), None, yard, vault) == ("main", git(origin, "rev-parse", "main"))
    for repository in (yard, vault):
        assert git(repository, "rev-parse", target_ref("main")) == git(origin, "rev-parse", "main")
        git(repository, "fsck", "--strict")
    assert not list((vault).glob("hooks/*"))
    assert vault.stat().st_mode & 0o777 == 0o700


def test_again_completes(vermas_origin: OriginFactory, tmp_path: Path) -> None:
    origin = vermas_origin()
    yard, vault = tmp_path / "yard.git", tmp_path / "repo.git"
    first = create_rig_repositories(str(origin), "main", yard, vault)
    (yard / "HEAD").unlink()
    assert create_rig_repositories(str(origin), "main", yard, vault) == first
    assert (yard / "objects/info/alternates").read_text().count("\n") == 1


def test_the_yard_sees_what_the_vault_gets(made: tuple[Path, Repository, str], tmp_path: Path) -> None:
    _, vault, sha = made
    later = work(vault, sha)
    assert git(tmp_path / "yard.git", "cat-file", "-t", later) == "commit"


def test_the_default_branch_is_the_origins_head(vermas_origin: OriginFactory, tmp_path: Path) -> None:
    origin = vermas_origin()
    git(origin, "update-ref", "refs/heads/trunk", "refs/heads/main")
    git(origin, "symbolic-ref", "HEAD", "refs/heads/trunk")
    assert default_branch(str(origin)) == "trunk"
    assert create_rig_repositories(str(origin), None, tmp_path / "y", tmp_path / "v")[0] == "trunk"


def test_sha256(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    git(tmp_path, "init", "-q", "--object-format=sha256", "--initial-branch=main", str(origin))
    git(origin, "commit", "-q", "--allow-empty", "-m", "first")
    _, sha = create_rig_repositories(str(origin), None, tmp_path / "yard.git", tmp_path / "repo.git")
    assert len(sha) == 64
    vault = Repository(tmp_path / "repo.git")
    assert push(vault.path, str(origin), work(vault, sha), "main", sha).kind == "done"


def test_a_checkout_as_origin(vermas_origin: OriginFactory, tmp_path: Path) -> None:
    origin = vermas_origin(bare=False)
    _, sha = create_rig_repositories(str(origin), None, tmp_path / "yard.git", tmp_path / "repo.git")
    assert sha == git(origin, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("absent", "does not exist"),
        ("directory", "is not a git repository"),
        ("file", "is not a git repository"),
        ("empty", "has no commits"),
        ("branch", r"has no branch 'nope': there is main"),
        ("option", r"."),
        ("helper", r"."),
    ],
)
def test_bad_origins(vermas_origin: OriginFactory, tmp_path: Path, problem: str, message: str) -> None:
    place, target = tmp_path / "there", None
    if problem == "directory":
        place.mkdir()
    elif problem == "file":
        place.write_text("x")
    elif problem == "empty":
        git(tmp_path, "init", "-q", "--bare", str(place))
    elif problem == "branch":
        place, target = vermas_origin(), "nope"
    origin = {"option": f"--upload-pack=touch {tmp_path}/pwned", "helper": f"ext::touch {tmp_path}/pwned"}.get(problem, str(place))
    with pytest.raises(GitError, match=message):
        create_rig_repositories(origin, target, tmp_path / "y", tmp_path / "v")
    assert not (tmp_path / "pwned").exists()


def test_an_unreachable_server(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"git://127.0.0.1:{closed.getsockname()[1]}/x"
        with pytest.raises(GitError, match="cannot reach git://"):
            create_rig_repositories(url, None, tmp_path / "y", tmp_path / "v")


@pytest.mark.parametrize("packed", [False, True])
def test_the_target_is_followed(made: tuple[Path, Repository, str], packed: bool) -> None:
    origin, vault, sha = made
    assert refresh_target(vault.path, str(origin), "main") == sha
    git(origin, "update-ref", "refs/heads/main", git(origin, "commit-tree", "-p", "main", "-m", "later", "main^{tree}"))
    if packed:
        git(origin, "gc", "-q")
    later = refresh_target(vault.path, f"file://{origin}" if packed else str(origin), "main")
    assert later == git(origin, "rev-parse", "main") != sha
    assert vault.ref(target_ref("main")) == later
    git(vault.path, "rev-list", "--objects", "--quiet", later)


def test_a_rewritten_target_is_followed(made: tuple[Path, Repository, str]) -> None:
    origin, vault, _ = made
    git(origin, "update-ref", "refs/heads/main", git(origin, "commit-tree", "-m", "another root", "main^{tree}"))
    assert refresh_target(vault.path, str(origin), "main") == git(origin, "rev-parse", "main")


def test_a_vanished_target(made: tuple[Path, Repository, str]) -> None:
    origin, vault, _ = made
    git(origin, "branch", "-m", "main", "trunk")
    with pytest.raises(GitError, match=r"has no branch 'main': there is trunk"):
        refresh_target(vault.path, str(origin), "main")


def test_a_push_is_compare_and_swap(made: tuple[Path, Repository, str]) -> None:
    origin, vault, sha = made
    one, two = work(vault, sha, "one"), work(vault, sha, "two")
    assert push(vault.path, str(origin), one, "main", sha).kind == "done"
    assert push(vault.path, str(origin), one, "main", sha).kind == "done"
    refused = push(vault.path, str(origin), two, "main", sha)
    assert refused.kind == "moved", refused.log
    assert git(origin, "rev-parse", "main") == one


def test_a_push_updates_a_clean_checkout(vermas_origin: OriginFactory, tmp_path: Path) -> None:
    origin = vermas_origin(bare=False)
    _, sha = create_rig_repositories(str(origin), None, tmp_path / "yard.git", tmp_path / "repo.git")
    vault = Repository(tmp_path / "repo.git")
    blob = git(vault.path, "hash-object", "-w", "--stdin", stdin=b"new\n")
    tree = git(vault.path, "mktree", stdin=f"100644 blob {blob}\tREADME.md\n".encode())
    commit = vault.commit_tree(tree, [sha], "change", "Test <test@example.org>", 1)
    (origin / "README.md").write_text("the user's own\n")
    refused = push(vault.path, str(origin), commit, "main", sha)
    assert refused.kind == "rejected"
    assert "unstaged changes" in refused.log
    assert (origin / "README.md").read_text() == "the user's own\n"
    git(origin, "checkout", "-q", "README.md")
    assert push(vault.path, str(origin), commit, "main", sha).kind == "done"
    assert (origin / "README.md").read_text() == "new\n"
    assert git(origin, "status", "--porcelain") == ""


def test_a_hook_of_the_origin_decides(made: tuple[Path, Repository, str]) -> None:
    origin, vault, sha = made
    hook = origin / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n")
    hook.chmod(0o755)
    refused = push(vault.path, str(origin), work(vault, sha), "main", sha)
    assert refused.kind == "rejected"
    assert "not on a Friday" in refused.log


def test_a_vanished_origin_is_unreachable(made: tuple[Path, Repository, str]) -> None:
    origin, vault, sha = made
    origin.rename(origin.with_name("elsewhere"))
    assert push(vault.path, str(origin), work(vault, sha), "main", sha).kind == "unreachable"


def test_merges(made: tuple[Path, Repository, str]) -> None:
    _, vault, sha = made

    def change(name: str, content: bytes) -> str:
        blob = git(vault.path, "hash-object", "-w", "--stdin", stdin=content)
        listing = [line for line in git(vault.path, "ls-tree", sha).splitlines() if not line.endswith(f"\t{name}")]
        tree = git(vault.path, "mktree", stdin="\n".join([*listing, f"100644 blob {blob}\t{name}"]).encode() + b"\n")
        return vault.commit_tree(tree, [sha], name, "Test <test@example.org>", 1)

    one, other, rival = change("README.md", b"one\n"), change("other.txt", b"other\n"), change("README.md", b"rival\n")
    merged = vault.merge_tree(one, other)
    assert merged.conflicts == ()
    assert git(vault.path, "ls-tree", "--name-only", merged.tree).split() == ["README.md", "other.txt"]
    assert vault.merge_tree(one, rival).conflicts == ("README.md",)
    assert vault.is_ancestor(sha, one)
    assert not vault.is_ancestor(one, sha)
    with pytest.raises(GitError):
        vault.merge_tree(one, "0" * 40)


def test_refs_change_together_or_not_at_all(made: tuple[Path, Repository, str]) -> None:
    _, vault, sha = made
    later = work(vault, sha)
    vault.update_refs([("refs/vermas/a", sha, ""), ("refs/vermas/b", sha, "")])
    with pytest.raises(GitError):
        vault.update_refs([("refs/vermas/a", later, sha), ("refs/vermas/b", later, later)])
    assert vault.refs("refs/vermas/") == {"refs/vermas/a": sha, "refs/vermas/b": sha, target_ref("main"): sha}
    vault.delete_ref("refs/vermas/a", sha)
    assert vault.ref("refs/vermas/a") is None


def test_gitpython_reads_the_vault(made: tuple[Path, Repository, str], tmp_path: Path) -> None:
    _, vault, sha = made
    with vault.gitpython() as repo:
        assert repo.commit(sha).message == "first\n"
        assert [blob.path for blob in repo.commit(sha).tree.blobs] == ["README.md"]
    with pytest.raises(GitError, match="agents can write"), Repository(tmp_path / "yard.git", vault=vault.path).gitpython():
        pass


def test_the_vault_keeps_everything(made: tuple[Path, Repository, str]) -> None:
    """Even when the user runs `git gc` in it."""
    _, vault, sha = made
    later = work(vault, sha)
    git(vault.path, "gc", "-q")
    assert vault.has(later)
