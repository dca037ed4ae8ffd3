"""The `vermas` on a session's PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vermas.lifecycle.launcher import search_path


def test_verbs_for_agents_start_without_site_and_all_others_in_the_installed_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])
    launcher, installed = search_path(str(tmp_path))
    assert installed == os.path.dirname(sys.executable)
    program = Path(launcher, "vermas")
    assert program.stat().st_mode & 0o777 == 0o700
    refused = subprocess.run([program, "done"], capture_output=True, text=True, check=False)
    assert refused.returncode == 8
    assert "not a VerMAS session" in refused.stderr
    flags = subprocess.run([program, "signal", "--help"], capture_output=True, text=True, check=False, env={"PYTHONVERBOSE": "1"})
    assert flags.stdout.startswith("usage: vermas signal")
    assert "import 'site'" not in flags.stderr
    listed = subprocess.run([program, "bead", "--help"], capture_output=True, text=True, check=True)
    assert "create" in listed.stdout


def test_it_follows_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(search_path(str(tmp_path))[0], "vermas")
    before = path.stat().st_ino
    search_path(str(tmp_path))
    assert path.stat().st_ino == before, "written once"
    other = tmp_path / "elsewhere" / "vermas"
    other.parent.mkdir()
    other.touch()
    monkeypatch.setattr(sys, "argv", [str(other)])
    assert search_path(str(tmp_path))[1] == str(other.parent)
    assert str(other) in path.read_text()


def test_without_it_where_a_first_line_cannot_name_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python")
    assert len(search_path(str(tmp_path))) == 1
    assert not (tmp_path / "bin").exists()
