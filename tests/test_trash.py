"""Discarding directories: out of the way at once, deleted safely."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from vermas import trash


def test_discarded_then_emptied(tmp_path: Path) -> None:
    victim, bin_ = tmp_path / "victim", tmp_path / "trash"
    (victim / "a" / "b").mkdir(parents=True)
    (victim / "a" / "file").write_text("x")
    (victim / "link").symlink_to(tmp_path)
    name = trash.discard(str(victim), str(bin_), "p1")
    assert name is not None
    assert not victim.exists()
    assert trash.leftovers(str(bin_)) == [name]
    trash.empty(str(bin_))
    assert trash.leftovers(str(bin_)) == []
    assert tmp_path.exists()


def test_nothing_to_discard(tmp_path: Path) -> None:
    assert trash.discard(str(tmp_path / "absent"), str(tmp_path / "trash"), "p1") is None
    trash.empty(str(tmp_path / "nowhere"))
    assert trash.leftovers(str(tmp_path / "nowhere")) == []


def test_what_is_not_ours_is_kept(tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    trash.discard(str(tmp_path / "foreign"), str(tmp_path / "trash"), "p1", keep=True)
    trash.empty(str(tmp_path / "trash"))
    assert len(trash.leftovers(str(tmp_path / "trash"))) == 1


def test_what_another_is_deleting_is_left_to_it(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    name = trash.discard(str(tmp_path / "victim"), str(tmp_path / "trash"), "p1")
    assert name is not None
    held = os.open(tmp_path / "trash" / name, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    trash.empty(str(tmp_path / "trash"))
    assert trash.leftovers(str(tmp_path / "trash")) == [name]
    os.close(held)
    trash.empty(str(tmp_path / "trash"))
    assert trash.leftovers(str(tmp_path / "trash")) == []


def test_the_trash_itself_is_never_a_link(tmp_path: Path) -> None:
    """Somebody puts a link where the trash should be: nothing behind it is touched."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "canary").write_text("alive")
    (tmp_path / "trash").symlink_to(tmp_path / "real")
    try:
        trash.empty(str(tmp_path / "trash"))
    except OSError:
        pass
    assert (tmp_path / "real" / "canary").exists()


def test_a_scratch_directory_lasts_as_long_as_its_block(tmp_path: Path) -> None:
    bin_ = str(tmp_path / "trash")
    with trash.scratch(bin_, "snapshot") as path:
        Path(path, "index").write_text("x")
        trash.empty(bin_)
        assert Path(path, "index").exists()
    assert trash.leftovers(bin_) == []
