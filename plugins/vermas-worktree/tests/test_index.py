"""Which index files need no question to git."""

from __future__ import annotations

from pathlib import Path

import pytest
from vermas_worktree.index import is_plain

from vermas.testing.plugin import OriginFactory
from vermas.testing.town import git


@pytest.fixture
def checkout(vermas_origin: OriginFactory) -> Path:
    files = {f"directory/file{number}.txt": f"{number}\n" for number in range(40)}
    return vermas_origin(bare=False, files=files)


def test_an_ordinary_index(checkout: Path) -> None:
    assert is_plain(f"{checkout}/.git/index")
    (checkout / "new.txt").write_text("x")
    git(checkout, "add", "-A")
    git(checkout, "status")
    assert is_plain(f"{checkout}/.git/index")


@pytest.mark.parametrize(
    "words",
    [
        ("update-index", "--assume-unchanged", "directory/file3.txt"),
        ("update-index", "--skip-worktree", "directory/file39.txt"),
        ("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},inner"),
        ("update-index", "--index-version", "4"),
        ("update-index", "--split-index"),
        ("update-index", "--add", "--cacheinfo", f"100644,{'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'},{'n' * 200}/{'m' * 4000}"),
    ],
    ids=["assume-unchanged", "skip-worktree", "submodule", "version 4", "split", "long name"],
)
def test_an_index_that_git_has_to_explain(checkout: Path, words: tuple[str, ...]) -> None:
    git(checkout, *words)
    assert not is_plain(f"{checkout}/.git/index")


def test_a_conflict(checkout: Path) -> None:
    blob = git(checkout, "rev-parse", "HEAD:directory/file1.txt")
    lines = "".join(f"100644 {blob} {stage}\tboth.txt\n" for stage in (1, 2, 3))
    git(checkout, "update-index", "--index-info", stdin=lines.encode())
    assert not is_plain(f"{checkout}/.git/index")


@pytest.mark.parametrize("damage", [b"", b"DIRC", b"DIRC\0\0\0\2\xff\xff\xff\xff" + b"\0" * 40])
def test_a_damaged_one(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "index").write_bytes(damage)
    assert not is_plain(f"{tmp_path}/index")
    assert not is_plain(f"{tmp_path}/missing")
