"""Writers of the vault's refs that are killed: what they leave behind stops nobody."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from vermas.errors import GitError
from vermas.git import Repository, create_rig_repositories, push
from vermas.git.leftover import drop_locks
from vermas.testing.plugin import OriginFactory
from vermas.testing.town import git


@pytest.fixture
def vault(vermas_origin: OriginFactory, tmp_path: Path) -> Repository:
    create_rig_repositories(str(vermas_origin()), "main", tmp_path / "yard.git", tmp_path / "repo.git")
    return Repository(tmp_path / "repo.git")


def test_the_lock_file_of_a_killed_git_is_removed(vault: Repository) -> None:
    sha = git(vault.path, "rev-parse", "refs/vermas/base/main")
    ref = "refs/vermas/rescue/p1/1"
    for name in (f"{ref}.lock", "packed-refs.lock"):
        path = Path(vault.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    vault.update_ref(ref, sha, "")
    assert vault.ref(ref) == sha
    Path(vault.path, f"{ref}.lock").touch()
    vault.delete_ref(ref, sha)
    assert vault.ref(ref) is None


def test_lock_files_where_nobody_writes_again(vault: Repository) -> None:
    left = Path(vault.path, "refs/vermas/submitted/p1/1.lock")
    left.parent.mkdir(parents=True)
    left.touch()
    vault.tidy("refs/vermas/submitted/p2")
    assert left.exists()
    vault.tidy("refs/vermas/submitted/p1")
    assert not left.exists()


def test_a_lock_file_on_a_branch_of_the_yard_may_be_an_agents(vault: Repository, tmp_path: Path) -> None:
    yard = Repository(tmp_path / "yard.git", vault=vault.path)
    sha = git(vault.path, "rev-parse", "refs/vermas/base/main")
    Path(yard.path, "refs/heads/main.lock").touch()
    with pytest.raises(GitError, match="cannot lock ref"):
        yard.update_ref("refs/heads/main", sha)
    assert Path(yard.path, "refs/heads/main.lock").exists()


def test_many_writers_of_one_ref_wait_for_each_other(vault: Repository) -> None:
    base = git(vault.path, "rev-parse", "refs/vermas/base/main")
    tree = vault.commit(base).tree
    commits = [vault.commit_tree(tree, [base], str(number), "Test <test@example.org>", number) for number in range(8)]
    failures: list[Exception] = []

    def write(commit: str) -> None:
        try:
            vault.update_ref("refs/vermas/shared", commit)
        except GitError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(commit,)) for commit in commits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert vault.ref("refs/vermas/shared") in commits


@pytest.fixture
def made(vault: Repository, vermas_origin: OriginFactory) -> tuple[Repository, Path, str, str]:
    """A vault, another origin, the commit at its main, and one that is to go there."""
    origin = vermas_origin("other")
    base = git(origin, "rev-parse", "main")
    git(vault.path, "fetch", "-q", str(origin), "main")
    return vault, origin, base, vault.commit_tree(vault.commit(base).tree, [base], "work", "Test <test@example.org>", 1)


def test_an_origin_whose_git_was_killed_has_not_refused(made: tuple[Repository, Path, str, str]) -> None:
    vault, origin, base, commit = made
    (origin / "objects" / commit[:2]).write_text("a file where git wants a directory: its unpacker fails")
    pushed = push(vault.path, str(origin), commit, "main", base)
    assert pushed.kind == "unreachable", pushed.log
    assert git(origin, "rev-parse", "main") == base


def test_lock_files_that_a_killed_git_left_in_an_origin(made: tuple[Repository, Path, str, str]) -> None:
    vault, origin, base, commit = made
    locks = [origin / "refs" / "heads" / "main.lock", origin / "HEAD.lock", origin / "index.lock"]
    for lock in locks:
        lock.touch()
    first = push(vault.path, str(origin), commit, "main", base)
    assert first.kind == "moved"
    assert not any(lock.exists() for lock in locks)
    assert push(vault.path, str(origin), commit, "main", base).kind == "done"
    locks[1].touch()
    push(vault.path, str(origin), commit, "main", base)
    assert not locks[1].exists()


def test_lock_files_beside_a_living_git_stay(made: tuple[Repository, Path, str, str]) -> None:
    vault, origin, base, commit = made
    lock = origin / "refs" / "heads" / "main.lock"
    lock.touch()
    with subprocess.Popen(["git", "cat-file", "--batch"], cwd=origin, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living:
        push(vault.path, str(origin), commit, "main", base)
        assert lock.exists()
        living.communicate()


def test_a_lock_file_that_changes_hands_stays(made: tuple[Repository, Path, str, str]) -> None:
    origin = made[1]
    lock, stop = origin / "HEAD.lock", threading.Event()

    def busy() -> None:
        while not stop.is_set():
            lock.unlink(missing_ok=True)
            lock.touch()

    lock.touch()
    thread = threading.Thread(target=busy)
    thread.start()
    try:
        assert drop_locks(str(origin), "main") == []
    finally:
        stop.set()
        thread.join()


def test_a_ref_of_our_own_is_written_without_a_process(vault: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    first = git(vault.path, "rev-parse", "refs/vermas/base/main")
    second = vault.commit_tree(vault.commit(first).tree, [first], "second", "Test <test@example.org>", 1)
    ref = "refs/vermas/submitted/p1/1"
    with monkeypatch.context() as patch:
        patch.setattr("vermas.git.repository.run", None)
        vault.update_ref(ref, first)
        vault.update_ref(ref, second)
    assert git(vault.path, "rev-parse", ref) == second
    assert git(vault.path, "log", "-g", "--format=%H", ref).split() == [second, first]
    git(vault.path, "pack-refs", "--all")
    vault.update_ref(ref, first)
    assert git(vault.path, "rev-parse", ref) == first


def test_a_ref_that_is_in_the_way_is_named(vault: Repository) -> None:
    sha = git(vault.path, "rev-parse", "refs/vermas/base/main")
    vault.update_ref("refs/vermas/rescue/p1", sha)
    with pytest.raises(GitError, match="'refs/vermas/rescue/p1' exists"):
        vault.update_ref("refs/vermas/rescue/p1/1", sha)
    vault.update_ref("refs/vermas/rescue/p2/1", sha)
    with pytest.raises(GitError, match="'refs/vermas/rescue/p2/1' exists"):
        vault.update_ref("refs/vermas/rescue/p2", sha)


def test_no_ref_points_at_an_object_that_is_not_there(vault: Repository) -> None:
    with pytest.raises(GitError, match="nonexistent object"):
        vault.update_ref("refs/vermas/rescue/p1/1", "1" * 40)
