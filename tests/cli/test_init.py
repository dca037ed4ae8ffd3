from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vermas.town import Town

Vermas = Callable[..., Any]


def test_init_here_says_what_next(vermas: Vermas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = vermas("init").out
    assert out.startswith("made the town")
    assert "vermas rig add" in out
    assert "cd " not in out
    assert Town(tmp_path).id


def test_init_elsewhere(vermas: Vermas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cd a/hq\n" in vermas("init", "a/hq").out
    done = vermas("init", "a/hq", "--json")
    assert done.json == {"town": str(tmp_path / "a/hq"), "id": Town("a/hq").id, "name": "hq", "created": False}


def test_init_again_changes_nothing(vermas: Vermas, town: Town) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(town.root).rglob("*") if "town.db" not in path.name}
    assert "is a town already" in vermas("init").out
    assert {path: path.stat().st_mtime_ns for path in Path(town.root).rglob("*") if "town.db" not in path.name} == before


def test_init_inside_a_town(vermas: Vermas, town: Town) -> None:
    assert "do not nest" in vermas("init", "sub", expect=8).err


def test_init_where_nothing_can_be_made(vermas: Vermas, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = vermas("init", str(tmp_path / "file" / "hq"), expect=1)
    assert "cannot make a town" in done.err
    assert done.err.count("\n") == 1


def test_what_init_writes_is_valid(vermas: Vermas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "Größe [x] #1"
    vermas("init", str(odd))
    monkeypatch.chdir(odd)
    assert vermas("config", "get", "town.name").out == "Größe [x] #1\n"
    assert os.path.isdir(odd / ".vermas")
