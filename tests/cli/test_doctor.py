from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vermas.config import load
from vermas.doctor.state import locks
from vermas.store import Store, polecats
from vermas.town import Town

Vermas = Callable[..., Any]
Origin = Callable[..., Path]
Wait = Callable[..., Any]


@pytest.fixture
def web(vermas: Vermas, town: Town, vermas_origin: Origin) -> str:
    """A rig that lacks nothing."""
    vermas("rig", "add", "web", str(vermas_origin()), "--agent", "script", "--check", "true")
    vermas("config", "set", "rigs.web.options.script.command", '["true"]')
    return "web"


def problems(vermas: Vermas, *words: str, expect: int | None = None) -> dict[str, dict[str, Any]]:
    """What `doctor` finds wrong, by name."""
    return {check["name"]: check for check in vermas("doctor", "--json", *words, expect=expect).json if check["status"] != "ok"}


def add_polecat(town: Town, bead: str = "web-1", slot: str = "slot0") -> str:
    store = Store(town.db)
    with store.write() as db:
        polecat = polecats.insert(db, rig="web", bead_id=bead, slot=slot, place="local", agent="script", target="main")
    store.close()
    return polecat


def test_a_healthy_town(vermas: Vermas, town: Town, web: str) -> None:
    assert problems(vermas, expect=0) == {}
    out = vermas("doctor").out
    assert "ok       git: git version" in out
    assert "ok       database: whole" in out
    assert "ok       web: main at" in out
    assert vermas("doctor", "-q").out == ""


def test_outside_of_a_town(vermas: Vermas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = vermas("doctor", expect=1).out
    assert "ok       git" in out
    assert "error    town: no town" in out


def test_without_git_and_tmux(town: Town, web: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vermas", "doctor", "--json"],
        capture_output=True,
        check=False,
        cwd=town.root,
        env={"PATH": str(tmp_path / "nothing"), "HOME": str(tmp_path)},
    )
    found = {check["name"]: check for check in json.loads(done.stdout) if check["status"] == "error"}
    assert done.returncode == 1
    assert "git is not installed" in found["git"]["message"]


def test_permissions_are_mended(vermas: Vermas, town: Town) -> None:
    os.chmod(town.state, 0o755)
    os.chmod(town.db, 0o644)
    os.rmdir(town.cache)
    done = vermas("doctor", expect=1).out
    assert done.count("error    permissions") == 3
    assert problems(vermas, "--fix", expect=0) == {}
    assert os.stat(town.state).st_mode & 0o777 == 0o700
    assert os.stat(town.db).st_mode & 0o777 == 0o600
    assert os.path.isdir(town.cache)
    assert problems(vermas, expect=0) == {}


@pytest.mark.parametrize("damage", ["header", "missing", "empty", "newer", "another"])
def test_a_damaged_database(vermas: Vermas, town: Town, damage: str) -> None:
    path = Path(town.db)
    if damage == "header":
        path.write_bytes(b"not a database, but long enough to look at: " * 200)
    elif damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        store = Store(town.db)
        store.read.execute("PRAGMA user_version=999" if damage == "newer" else "UPDATE meta SET value = 'x' WHERE key = 'town_id'")
        store.close()
    for words in ((), ("--fix",)):
        found = problems(vermas, *words, expect=1)
        assert "issues.jsonl" in found["database"]["hint"] or damage == "another"


def test_a_torn_page_is_found(vermas: Vermas, town: Town) -> None:
    store = Store(town.db)
    store.read.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    pages = bytearray(Path(town.db).read_bytes())
    pages[8192:12288] = b"\xff" * 4096
    Path(town.db).write_bytes(pages)
    assert "database" in problems(vermas, expect=1)


def test_a_wrong_configuration(vermas: Vermas, town: Town, web: str) -> None:
    Path(town.config_file).write_text("[rigs.web]\nchek = 1\n")
    found = problems(vermas, "--fix", expect=1)
    assert f"{town.config_file}:2" in found["configuration"]["message"]


def test_a_rig_without_repositories(vermas: Vermas, town: Town, web: str, vermas_origin: Origin) -> None:
    shutil.rmtree(town.yard("web"))
    found = problems(vermas, expect=1)["web"]
    assert town.yard("web") in found["message"]
    words = found["hint"].split(" (")[0].split()
    assert words[0] == "vermas"
    vermas(*words[1:])
    assert problems(vermas, expect=0) == {}


def test_a_rig_with_a_missing_plugin(vermas: Vermas, town: Town, web: str) -> None:
    vermas("config", "set", "rigs.web.plugins", '["slots", "nope"]')
    assert "'nope'" in problems(vermas, expect=1)["web"]["message"]


def test_what_plugins_find(vermas: Vermas, town: Town, web: str) -> None:
    vermas("config", "set", "rigs.web.options.script.command", '["./missing-program"]')
    found = problems(vermas, expect=1)["web: script"]
    assert "missing-program" in found["message"]


def test_a_sandbox_without_a_polecat_is_put_aside_whole(vermas: Vermas, town: Town, web: str) -> None:
    checkout = Path(town.checkout("web", "slot0"))
    yard = town.yard("web")
    subprocess.run(["git", "-C", yard, "worktree", "add", "-q", "--detach", checkout, "main"], check=True, capture_output=True)
    link = (checkout / ".git").read_text().removeprefix("gitdir: ").strip()
    (checkout / ".git").write_text(f"gitdir: {os.path.relpath(link, os.path.realpath(checkout))}\n")
    (checkout / "unsaved.txt").write_text("precious")
    polecat = add_polecat(town)
    assert problems(vermas, expect=0) == {}, "it is assigned"
    store = Store(town.db)
    with store.write() as db:
        polecats.update(db, polecat, gone=1)
    store.close()
    assert "assigned to no polecat" in problems(vermas, expect=0)["web: sandboxes"]["message"]
    assert problems(vermas, "--fix", expect=0) == {}
    [kept] = Path(town.orphans("web")).iterdir()
    assert (kept / "web" / "unsaved.txt").read_text() == "precious"
    status = subprocess.run(["git", "-C", kept / "web", "status", "--porcelain"], capture_output=True, text=True, check=True)
    assert status.stdout == "?? unsaved.txt\n", "still a working tree"
    assert not os.path.exists(town.slot_dir("web", "slot0"))


def test_empty_slots_are_no_problem(vermas: Vermas, town: Town, web: str) -> None:
    os.makedirs(town.slot_dir("web", "slot4"))
    assert problems(vermas, expect=0) == {}


def test_stale_and_held_locks(vermas: Vermas, town: Town, web: str) -> None:
    polecat = add_polecat(town)
    names = {
        "stale": town.session_lock("p98"),
        "held": town.session_lock("p99"),
        "good": town.session_lock(polecat),
        "rig": town.rig_lock("gone"),
    }
    for path in names.values():
        Path(path).touch()
    with open(names["held"], "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        vermas("doctor", "--fix", expect=1)
        assert [name for name, path in names.items() if os.path.exists(path)] == ["held", "good"]
        assert names["held"] in problems(vermas, expect=1)["locks"]["message"]
    assert problems(vermas, "--fix", expect=0) == {}
    assert not os.path.exists(names["held"])


def test_a_lock_taken_since_is_left_alone(town: Town) -> None:
    Path(town.session_lock("p98")).touch()
    [found] = locks(town, load(town), Store(town.db))
    with open(town.session_lock("p98"), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "held now" in found.mended().message
    assert os.path.exists(town.session_lock("p98"))


def test_who_holds_a_rig(vermas: Vermas, town: Town, web: str) -> None:
    with open(town.rig_lock("web"), "w") as file:
        file.write('{"pid": 4711, "verb": "run"}')
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "rig web is held by vermas run (pid 4711)" in vermas("doctor").out


@pytest.fixture
def stray(town: Town) -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries the tag of session 1 of polecat `p1`."""
    tag = {"VERMAS_SESSION": f"{town.id}/p1/1"}
    with subprocess.Popen(["sleep", "600"], env={**os.environ, **tag}) as process:
        yield process
        process.kill()


def test_processes_of_sessions_that_are_over(vermas: Vermas, town: Town, stray: subprocess.Popen[bytes]) -> None:
    assert f"processes [{stray.pid}] belong to session p1-1" in problems(vermas, expect=1)["processes"]["message"]
    assert problems(vermas, "--fix", expect=0) == {}
    assert stray.wait(10) == -15


def test_processes_of_living_sessions_are_left_alone(vermas: Vermas, town: Town, stray: subprocess.Popen[bytes]) -> None:
    assert add_polecat(town) == "p1"
    store = Store(town.db)
    with store.write() as db:
        polecats.decide_session(db, "p1", "secret")
    store.close()
    assert problems(vermas, "--fix", expect=0) == {}
    assert stray.poll() is None


def test_processes_of_an_earlier_session(vermas: Vermas, town: Town, stray: subprocess.Popen[bytes]) -> None:
    add_polecat(town)
    store = Store(town.db)
    with store.write() as db:
        assert [polecats.decide_session(db, "p1", "secret") for _ in range(2)] == [1, 2]
    store.close()
    assert "session p1-1" in problems(vermas, expect=1)["processes"]["message"]


RUNTIME = """
import pathlib
from vermas.hookspecs import hookimpl
from vermas.types import Session

HERE = pathlib.Path(__file__).parent

@hookimpl
def vermas_session_start(rig, polecat, sandbox, launch): raise NotImplementedError
@hookimpl
def vermas_session_observe(rig, sessions): return {}
@hookimpl
def vermas_session_read(rig, session, cursor, limit_bytes): raise NotImplementedError
@hookimpl
def vermas_session_stop(rig, session, grace_s): (HERE / session.id).unlink()
@hookimpl
def vermas_session_discover(rig):
    return [Session(driver="files", id=path.name, polecat_id=path.name[:2], session_no=int(path.name[3:])) for path in HERE.glob("p?-*")]
"""


def test_sessions_without_a_polecat(vermas: Vermas, town: Town, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "site"
    info = place / "files-1.0.dist-info"
    info.mkdir(parents=True)
    (place / "files_runtime.py").write_text(RUNTIME)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: files\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vermas]\nfiles = files_runtime\n")
    monkeypatch.syspath_prepend(place)
    vermas("config", "set", "rigs.web.plugins", '["slots", "worktree", "files", "script", "watchdog", "refinery"]')
    assert add_polecat(town) == "p1"
    store = Store(town.db)
    with store.write() as db:
        polecats.decide_session(db, "p1", "secret")
    store.close()
    for session in ("p1-1", "p1-7", "p9-1"):
        (place / session).touch()
    assert vermas("doctor", expect=1).out.count("has no polecat") == 2
    assert problems(vermas, "--fix", expect=0) == {}
    assert [path.name for path in place.glob("p?-*")] == ["p1-1"]


def test_quarantined_beads(vermas: Vermas, town: Town, web: str) -> None:
    path = Path(town.issues("web") + ".quarantine")
    path.parent.mkdir(exist_ok=True)
    path.write_text('# issues.jsonl:3: torn\n{"id": \n')
    assert "1 line(s)" in problems(vermas, expect=0)["web: beads"]["message"]


def test_a_directory_that_looks_like_a_rig(vermas: Vermas, town: Town, web: str) -> None:
    shutil.copytree(town.rig_dir("web"), town.rig_dir("old"))
    assert town.rig_dir("old") in problems(vermas, "--fix", expect=0)["rigs"]["message"]
    assert os.path.isdir(town.rig_dir("old"))


def test_a_moved_town_is_mended(vermas: Vermas, town: Town, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = town.root
    checkout = town.checkout("web", "slot0")
    subprocess.run(["git", "-C", town.yard("web"), "worktree", "add", "-q", "--detach", checkout, "main"], check=True, capture_output=True)
    polecat = add_polecat(town)
    store = Store(town.db)
    with store.write() as db:
        polecats.update(db, polecat, sandbox=json.dumps({"driver": "worktree", "path": checkout, "branch": "b", "base_sha": "s"}))
    store.close()
    new = tmp_path / "elsewhere"
    os.rename(old, new)
    monkeypatch.chdir(new)
    assert "doctor --fix" in problems(vermas, expect=1)["place"]["message"]
    assert "moved from" in vermas("run", "web", expect=8).err
    moved = Town(new)
    with open(moved.session_lock(polecat), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "sessions are running: p1.lock" in problems(vermas, "--fix", expect=1)["place"]["message"]
    vermas("doctor", "--fix")
    assert problems(vermas, expect=0) == {}
    row = polecats.get(Store(moved.db).read, polecat)
    assert row is not None
    assert json.loads(row["sandbox"])["path"] == moved.checkout("web", "slot0")
    listed = subprocess.run(["git", "-C", moved.yard("web"), "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert moved.checkout("web", "slot0") in listed
    subprocess.run(["git", "-C", moved.checkout("web", "slot0"), "status"], check=True, capture_output=True)


def test_links_out_of_the_town_are_not_followed(
    vermas: Vermas, town: Town, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "gitdir").write_text(f"{town.root}/x\n")
    os.makedirs(os.path.join(town.yard("web"), "worktrees"))
    os.symlink(victim, os.path.join(town.yard("web"), "worktrees", "evil"))
    before = (victim / "gitdir").read_text()
    new = tmp_path / "elsewhere"
    os.rename(town.root, new)
    monkeypatch.chdir(new)
    vermas("doctor", "--fix")
    assert (victim / "gitdir").read_text() == before


def test_a_copied_town_cannot_be_mended(vermas: Vermas, town: Town, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(town.root, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    assert "is a copy of the town" in problems(vermas, "--fix", expect=1)["place"]["message"]
