"""The fixtures of the test kit make what they say and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vermas.testing.plugin import OriginFactory, PolecatFactory, RigFactory, Wait
from vermas.testing.reaper import marked
from vermas.testing.town import git
from vermas.types import Rig

pytest_plugins = ["pytester"]


def test_origin_has_one_commit_on_main(vermas_origin: OriginFactory) -> None:
    bare = vermas_origin("one", {"a/b.txt": "x\n", "raw": b"\x00\xff"})
    checkout = vermas_origin("two", bare=False)
    assert git(bare, "rev-list", "--count", "main") == "1"
    assert git(bare, "show", "main:a/b.txt") == "x"
    assert (checkout / "README.md").read_text() == "hello\n"
    assert git(checkout, "status", "--porcelain") == ""


def test_rig_has_the_base_in_vault_and_yard(vermas_rig: RigFactory, vermas_base: Callable[[Rig], str]) -> None:
    rig = vermas_rig()
    base = vermas_base(rig)
    assert base == git(rig.origin, "rev-parse", "main")
    for repository in (rig.yard, rig.vault):
        assert git(repository, "cat-file", "-t", base) == "commit"
    assert os.stat(rig.run_dir).st_mode & 0o777 == 0o700


def test_rigs_share_a_town_unless_told_otherwise(vermas_rig: RigFactory, tmp_path: Path) -> None:
    first, second = vermas_rig(), vermas_rig(name="web", prefix="web")
    stranger = vermas_rig(town=str(tmp_path / "elsewhere"))
    assert first.town_id == second.town_id != stranger.town_id
    assert first.run_dir == second.run_dir != stranger.run_dir


def test_polecats_count_up_and_have_a_private_home(vermas_rig: RigFactory, vermas_polecat: PolecatFactory) -> None:
    rig = vermas_rig()
    first, second = vermas_polecat(rig), vermas_polecat(rig, "slot1", title="Fix it")
    assert (first.id, second.id, second.bead.title) == ("p1", "p2", "Fix it")
    assert os.stat(second.home).st_mode & 0o777 == 0o700
    assert second.branch == "polecat/slot1/app-2@p2"


def test_wait_fails_with_the_last_value(vermas_wait: Wait) -> None:
    assert vermas_wait(lambda: 7) == 7
    with pytest.raises(pytest.fail.Exception, match="last value 0"):
        vermas_wait(lambda: 0, deadline_s=0.02)


def test_the_end_of_a_test_ends_the_processes_of_its_towns(pytester: pytest.Pytester, tmp_path: Path) -> None:
    note = tmp_path / "note"
    pytester.makepyfile(
        f"""
        import os, subprocess
        def test_leaves_one(vermas_rig):
            rig = vermas_rig()
            env = dict(os.environ, VERMAS_SESSION=rig.town_id + "/p1/1")
            subprocess.Popen(["sh", "-c", "setsid sleep 60 & sleep 60"], env=env)
            open({str(note)!r}, "w").write(rig.town_id + " " + rig.run_dir)
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    town_id, run_dir = note.read_text().split()
    assert list(marked([f"VERMAS_SESSION={town_id}/".encode()])) == []
    assert not Path(run_dir).exists()


def test_the_plugin_imports_nothing_of_weight() -> None:
    code = (
        "import sys, pytest, vermas.testing.plugin; print([m for m in sys.modules if m.split('.')[0] in HEAVY or m.startswith('vermas.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"HEAVY = {{'libtmux', 'git', 'rich', 'asyncio', 'click'}}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['vermas.testing', 'vermas.testing.plugin']"
