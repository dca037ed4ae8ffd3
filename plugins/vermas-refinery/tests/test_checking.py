"""Checks: run once to their end, on exactly what would land, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vermas import processes
from vermas.testing.fresh import call_in_fresh_process
from vermas.testing.town import git
from vermas.types import Candidate, Verdict

Wait = Callable[..., object]


def candidate_of(works: Any) -> Candidate:
    candidate: Candidate = works.candidate(works.change({"a.txt": "a\n"}))
    return candidate


def attempts_of(works: Any) -> list[Path]:
    return sorted(Path(works.rig.path, "gates").glob("*/[0-9]*"))


def test_passed(works: Any) -> None:
    works.with_check('test "$(cat a.txt)" = a && echo all is well')
    candidate = candidate_of(works)
    verdict = works.verdict(candidate)
    assert verdict.kind == "pass"
    assert Path(verdict.log).read_text() == "all is well\n"
    assert works.verify(candidate) == verdict
    assert not (attempts_of(works)[0] / "tree").exists()


def test_failed_with_the_end_of_the_log(works: Any) -> None:
    works.with_check("seq 1 500; echo 'E  assert 1 == 2' >&2; exit 3", log_lines=5)
    verdict = works.verdict(candidate_of(works))
    assert verdict.kind == "fail"
    assert "exited with 3" in verdict.reasons[0]
    assert verdict.reasons[1].splitlines() == ["497", "498", "499", "500", "E  assert 1 == 2"]


@pytest.mark.parametrize("check", ["none", "", "  "])
def test_no_check_no_verdict(works: Any, check: str) -> None:
    works.with_check(check)
    assert works.verify(candidate_of(works)) is None


def test_runs_on_exactly_the_tree(works: Any) -> None:
    """A clean repository at the candidate's commit."""
    works.with_check("git rev-parse HEAD; git status --porcelain --ignored; ls -A")
    candidate = candidate_of(works)
    lines = Path(works.verdict(candidate).log).read_text().split()
    assert lines == [candidate.commit, ".git", "README.md", "a.txt"]


def test_runs_once(works: Any, tmp_path: Path) -> None:
    works.with_check(f"echo run >>{tmp_path}/runs; until [ -e {tmp_path}/go ]; do sleep 0.02; done")
    candidate = candidate_of(works)
    for _ in range(5):
        verdict = works.verify(candidate)
        assert verdict is not None
        assert verdict.kind == "running"
    (tmp_path / "go").touch()
    assert works.verdict(candidate).kind == "pass"
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_restart_finds_the_running_check_and_its_result(works: Any, tmp_path: Path) -> None:
    works.with_check(f"echo run >>{tmp_path}/runs; while ! test -e {tmp_path}/go; do sleep 0.05; done")
    candidate = candidate_of(works)
    arguments = {"rig": works.rig, "candidate": candidate}
    first: list[Verdict] = call_in_fresh_process("refinery", "verify", **arguments)
    assert first[0].kind == "running"
    second = works.verify(candidate)
    assert second is not None
    assert second.kind == "running"
    (tmp_path / "go").touch()
    assert works.verdict(candidate).kind == "pass"
    assert (tmp_path / "runs").read_text() == "run\n"
    assert call_in_fresh_process("refinery", "verify", **arguments)[0].kind == "pass"


@pytest.mark.parametrize("victim", ["supervisor", "check"])
def test_killed_is_running_again(works: Any, victim: str, tmp_path: Path, vermas_wait: Wait) -> None:
    """Never red, never green; what the first attempt left behind is ended."""
    works.with_check(f"echo $$ >>{tmp_path}/runs; test -e {tmp_path}/go || exec sleep 60")
    candidate = candidate_of(works)
    works.verify(candidate)
    vermas_wait(lambda: (tmp_path / "runs").exists() and (tmp_path / "runs").read_text().endswith("\n"))
    check = int((tmp_path / "runs").read_text())
    (tmp_path / "go").touch()
    record = processes.read_record(attempts_of(works)[0] / "record")
    assert record is not None
    os.kill(record.pid if victim == "supervisor" else check, signal.SIGKILL)
    assert works.verdict(candidate).kind == "pass"
    assert len((tmp_path / "runs").read_text().split()) == 2
    vermas_wait(lambda: not Path(f"/proc/{check}/cmdline").exists() or Path(f"/proc/{check}/cmdline").read_bytes() == b"")


def test_killed_for_ever_needs_a_human(works: Any) -> None:
    works.with_check("kill -9 $$", attempts=3)
    verdict = works.verdict(candidate_of(works))
    assert verdict.kind == "needs-human"
    assert "3 times" in verdict.reasons[0]
    assert len(attempts_of(works)) == 3


@pytest.mark.parametrize(("check", "code"), [("no-such-command-anywhere", 127), ("./README.md", 126)])
def test_what_cannot_run_is_not_red(works: Any, check: str, code: int) -> None:
    works.with_check(check, attempts=2)
    verdict = works.verdict(candidate_of(works))
    assert verdict.kind == "needs-human"
    assert str(code) in verdict.reasons[0]


def test_too_long_is_red(works: Any) -> None:
    works.with_check("echo began; sleep 60", timeout_s=0.5)
    verdict = works.verdict(candidate_of(works))
    assert verdict.kind == "fail"
    assert "longer than 0.5 s" in verdict.reasons[0]
    assert verdict.reasons[1] == "began"


def test_a_check_that_changes_tracked_files_is_red(works: Any) -> None:
    """What it judged is not what would land; untracked files are its own business."""
    works.with_check("echo formatted >README.md; echo x >report.xml")
    verdict = works.verdict(candidate_of(works))
    assert verdict.kind == "fail"
    assert "README.md" in verdict.reasons[0]
    assert "report.xml" not in verdict.reasons[0]


def test_same_length_changes_are_seen(works: Any) -> None:
    works.with_check("printf 'b\\n' >a.txt")
    assert works.verdict(candidate_of(works)).kind == "fail"


def test_no_secrets(works: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an allow-list of the environment, and what the rig names."""
    monkeypatch.setenv("MY_API_KEY", "hunter2")
    monkeypatch.setenv("DATABASE_URL", "wanted")
    works.with_check("env", env=("DATABASE_URL",))
    text = Path(works.verdict(candidate_of(works)).log).read_text()
    assert "hunter2" not in text
    assert "DATABASE_URL=wanted" in text
    assert "PATH=" in text


def test_git_in_a_check_stays_in_its_gate(works: Any) -> None:
    """Commits, branches and garbage collection of a check never reach the vault."""
    before = works.vault.refs("refs/")
    identity = "-c user.name=a -c user.email=a@b"
    works.with_check(
        f"git checkout -q -b mess && git {identity} commit -q --allow-empty -m mess && git gc -q --prune=now && git stash list"
    )
    assert works.verdict(candidate_of(works)).kind == "pass"
    assert works.vault.refs("refs/") == before
    git(works.rig.vault, "fsck", "--strict", "--connectivity-only")


def test_another_configuration_is_another_check(works: Any, tmp_path: Path) -> None:
    works.with_check(f"echo one >>{tmp_path}/runs")
    candidate = candidate_of(works)
    first = works.verdict(candidate)
    works.with_check(f"echo two >>{tmp_path}/runs")
    second = works.verdict(candidate)
    assert first.config_hash != second.config_hash
    assert (tmp_path / "runs").read_text() == "one\ntwo\n"


def test_a_new_candidate_is_checked_anew(works: Any, tmp_path: Path) -> None:
    works.with_check(f"echo run >>{tmp_path}/runs")
    candidate = candidate_of(works)
    works.verdict(candidate)
    works.move_origin({"b.txt": "b\n"})
    works.verdict(works.candidate(candidate.submission))
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_the_check_of_an_outdated_candidate_is_ended(works: Any, tmp_path: Path, vermas_wait: Wait) -> None:
    works.with_check(f"echo $$ >>{tmp_path}/runs; test -e {tmp_path}/go || exec sleep 60")
    candidate = candidate_of(works)
    works.verify(candidate)
    vermas_wait(lambda: (tmp_path / "runs").exists() and (tmp_path / "runs").read_text().endswith("\n"))
    first = int((tmp_path / "runs").read_text())
    (tmp_path / "go").touch()
    works.move_origin({"b.txt": "b\n"})
    assert works.verdict(works.candidate(candidate.submission)).kind == "pass"
    vermas_wait(lambda: not Path(f"/proc/{first}/cmdline").exists() or Path(f"/proc/{first}/cmdline").read_bytes() == b"")


def test_the_check_of_a_withdrawn_submission_is_ended(works: Any, tmp_path: Path, vermas_wait: Wait) -> None:
    works.with_check(f"echo $$ >>{tmp_path}/runs; exec sleep 60")
    works.verify(candidate_of(works))
    vermas_wait(lambda: (tmp_path / "runs").exists() and (tmp_path / "runs").read_text().endswith("\n"))
    check = Path(f"/proc/{(tmp_path / 'runs').read_text().strip()}/cmdline")
    works.candidate(works.change({"b.txt": "b\n"}))
    vermas_wait(lambda: not check.exists() or check.read_bytes() == b"")


def test_checkouts_of_older_gates_go(works: Any) -> None:
    """Their logs stay for a while."""
    works.with_check("true")
    first = works.verdict(candidate_of(works))
    tree = Path(first.log).parent / "tree"
    tree.mkdir()
    works.candidate(works.change({"b.txt": "b\n"}))
    assert not tree.exists()
    assert Path(first.log).exists()
    assert list(Path(works.rig.path, "trash").iterdir()) == []


def test_the_poke_says_when_it_ended(works: Any) -> None:
    """So the reconciler does not have to ask all the time."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as poked:
        poked.bind(os.path.join(works.rig.run_dir, f"poke-{works.rig.name}"))
        poked.settimeout(20)
        works.with_check("true")
        works.verify(candidate_of(works))
        words = [poked.recv(200).split()[0] for _ in range(2)]
    assert words == [b"start", b"exit"]
    assert works.verdict(candidate_of(works)).kind == "pass"
