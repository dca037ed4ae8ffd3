"""Processes of sessions from outside: locks, records, proofs, and ending what is left."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import py_compile
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vermas import processes, shim
from vermas.errors import Locked

STUBBORN = "trap '' TERM HUP; echo ready; while :; do sleep 0.05; done"


def until(fact: Callable[[], Any], deadline_s: float = 10.0) -> Any:
    """Wait for a fact; its value."""
    deadline = time.monotonic() + deadline_s
    while not (value := fact()):
        assert time.monotonic() < deadline, f"never came true: {fact}"
        time.sleep(0.005)
    return value


class Town:
    """Starts processes and sessions that carry a tag."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = f"t{os.getpid()}x{os.urandom(4).hex()}"
        self.started: list[subprocess.Popen[bytes]] = []

    def tagged(self, tag: str, script: str = "echo ready; exec sleep 60") -> subprocess.Popen[bytes]:
        """A process with this tag, which has printed its line."""
        env = {"PATH": os.environ["PATH"], "VERMAS_SESSION": f"{self.id}/{tag}"}
        process = subprocess.Popen(["sh", "-c", script], env=env, stdout=subprocess.PIPE, start_new_session=True)
        self.started.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        return process

    def session(self, script: str, grace_s: float = 5.0) -> processes.ShimRecord:
        """The record of a running session, whose agent has printed its line."""
        spec = {
            "id": "p1-1",
            "lock": str(self.path / "lock"),
            "record": str(self.path / "shim.json"),
            "exit": str(self.path / "exit.json"),
            "argv": ["sh", "-c", script],
            "env": {"PATH": os.environ["PATH"], "VERMAS_SESSION": f"{self.id}/p1/1"},
            "cwd": str(self.path),
            "grace_s": grace_s,
        }
        processes.write_spec(self.path / "spec.json", spec)
        process = subprocess.Popen(processes.shim_argv(str(self.path / "spec.json")), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.started.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        record = processes.read_record(self.path / "shim.json")
        assert record is not None
        return record


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert processes.sweep(made.id, 0.0) == []


def test_shim_runs_compiled_when_that_is_up_to_date(tmp_path: Path) -> None:
    source = tmp_path / "program.py"
    source.write_text("print('one')\n")
    assert processes.quick_start(str(source)) == str(source), "never compiled"
    compiled = py_compile.compile(str(source), doraise=True)
    assert processes.quick_start(str(source)) == compiled
    source.write_text("print('another')\n")
    assert processes.quick_start(str(source)) == str(source), "stale"
    Path(compiled).write_bytes(b"torn")
    assert processes.quick_start(str(source)) == str(source)


def test_spec_is_private(tmp_path: Path) -> None:
    processes.write_spec(tmp_path / "spec.json", {"env": {"KEY": "é\udcff"}})
    assert (tmp_path / "spec.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((tmp_path / "spec.json").read_text()) == {"env": {"KEY": "é\udcff"}}


def test_a_lock_is_held_by_a_living_process(town: Town) -> None:
    lock = town.path / "lock"
    assert not processes.lock_held(lock), "a missing file is not held"
    lock.touch()
    assert not processes.lock_held(lock)
    record = town.session("echo ready; exec sleep 60")
    assert processes.lock_held(lock)
    os.kill(record.pid, signal.SIGKILL)
    town.started[-1].wait()
    assert not processes.lock_held(lock)


def test_a_lock_that_cannot_be_looked_at_is_not_free(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        processes.lock_held(tmp_path / "lock")


EXIT = {
    "id": "p1-1",
    "code": 3,
    "signal": None,
    "stopped_by": "",
    "timed_out": False,
    "error": "",
    "survivors": [7],
    "duration_s": 1.5,
    "cpu_s": 0.1,
}


def test_exit_record(tmp_path: Path) -> None:
    (tmp_path / "exit.json").write_text(json.dumps(EXIT))
    assert processes.read_exit(tmp_path / "exit.json") == processes.ExitRecord(**{**EXIT, "survivors": (7,)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"id": "p1-1"}', json.dumps({**EXIT, "code": "x"}), json.dumps({**EXIT, "survivors": 3})]
)
def test_a_torn_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record").write_text(text)
    assert processes.read_exit(tmp_path / "record") is None
    assert processes.read_record(tmp_path / "record") is None


def test_a_missing_record_is_none_and_an_unreadable_one_is_not(tmp_path: Path) -> None:
    assert processes.read_exit(tmp_path / "no" / "record") is None
    assert processes.read_record(tmp_path / "record") is None
    with pytest.raises(IsADirectoryError):
        processes.read_record(tmp_path)


def test_pidfd_tells_the_end(town: Town) -> None:
    record = town.session("echo ready; read nothing")
    fd = processes.open_pidfd(record)
    assert fd is not None
    assert processes.wait_ended([fd], 0.05), "its stdin is empty, so it ends"
    os.close(fd)
    assert processes.open_pidfd(record) is None, "a zombie has ended"


@pytest.mark.parametrize("wrong", [{"start_ticks": 1}, {"boot_id": "another boot"}, {"start_ticks": 0, "boot_id": ""}, {"pid": 2**22 + 1}])
def test_a_pid_of_somebody_else_is_never_taken(town: Town, wrong: dict[str, Any]) -> None:
    record = town.session("echo ready; exec sleep 60")
    stranger = dataclasses.replace(record, **wrong)
    assert processes.open_pidfd(stranger) is None
    processes.terminate(stranger, 0.0)
    assert processes.lock_held(town.path / "lock")


def test_terminate_ends_politely(town: Town) -> None:
    record = town.session("trap 'exit 4' TERM; echo ready; while :; do sleep 0.02; done")
    processes.terminate(record, 5.0)
    ended = processes.read_exit(town.path / "exit.json")
    assert ended is not None and (ended.code, ended.stopped_by) == (4, "TERM")
    processes.terminate(record, 5.0)


def test_terminate_shortens_the_grace_and_keeps_the_record(town: Town) -> None:
    record = town.session(STUBBORN, grace_s=60.0)
    began = time.monotonic()
    processes.terminate(record, 0.1)
    assert time.monotonic() - began < 5
    ended = processes.read_exit(town.path / "exit.json")
    assert ended is not None and (ended.signal, ended.stopped_by) == (signal.SIGKILL, "TERM")
    assert processes.tagged(town.id) == []


def test_terminate_ends_a_shim_that_does_not_answer(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SHIM_FINISH_S", 0.1)
    record = town.session(STUBBORN)
    stopper = threading.Thread(target=processes.terminate, args=(record, 0.3))
    stopper.start()
    while stopper.is_alive():
        os.kill(record.pid, signal.SIGSTOP)
    assert not processes.lock_held(town.path / "lock")
    assert processes.sweep(f"{town.id}/p1/1", 0.0) == []


def test_tags_are_matched_in_whole_parts(town: Town) -> None:
    pids = {tag: town.tagged(tag).pid for tag in ("p1/1", "p1/12", "p12/1")}
    assert processes.tagged(f"{town.id}/p1/1") == [pids["p1/1"]]
    assert sorted(processes.tagged(f"{town.id}/p1")) == sorted([pids["p1/1"], pids["p1/12"]])
    assert sorted(processes.tagged(town.id)) == sorted(pids.values())
    assert processes.tagged(town.id[:-1]) == []


def test_a_tag_in_an_argument_is_not_a_tag(town: Town) -> None:
    process = subprocess.Popen(["sh", "-c", "read x", f"VERMAS_SESSION={town.id}/p1/1"], stdin=subprocess.PIPE)
    assert processes.tagged(town.id) == []
    process.communicate()


def test_sweep_ends_one_session_only(town: Town) -> None:
    swept, stubborn, other = town.tagged("p1/1"), town.tagged("p1/1", STUBBORN), town.tagged("p1/2")
    began = time.monotonic()
    assert processes.sweep(f"{town.id}/p1/1", 0.2) == []
    assert 0.2 <= time.monotonic() - began < 5
    assert (swept.wait(5), stubborn.wait(5)) == (-signal.SIGTERM, -signal.SIGKILL)
    assert other.poll() is None


def test_sweep_of_nothing_is_quick(town: Town) -> None:
    began = time.monotonic()
    assert processes.sweep(f"{town.id}/p1/1", 30.0) == []
    assert time.monotonic() - began < 2


def test_sweep_does_not_wait_out_the_grace(town: Town) -> None:
    town.tagged("p1/1")
    began = time.monotonic()
    assert processes.sweep(f"{town.id}/p1/1", 30.0) == []
    assert time.monotonic() - began < 5


def test_sweep_takes_children_that_lost_their_tag(town: Town) -> None:
    script = f"env -i sh -c 'trap \"\" TERM; touch {town.path}/up; while :; do sleep 0.05; done' & echo ready; wait"
    town.tagged("p1/1", script)
    until((town.path / "up").exists)
    untagged = set(shim.descendants(town.started[-1].pid)) - set(processes.tagged(town.id))
    assert untagged
    assert processes.sweep(f"{town.id}/p1/1", 0.1) == []
    until(lambda: all(shim.state_and_parent(pid)[0] in "ZX" for pid in untagged))


def test_leftovers_of_a_killed_shim_are_swept(town: Town) -> None:
    record = town.session(f"(setsid sh -c '{STUBBORN.replace(chr(39), chr(34))}' &); exec sleep 60")
    os.kill(record.pid, signal.SIGKILL)
    town.started[-1].wait()
    assert processes.tagged(f"{town.id}/p1/1"), "it ignores what the shim's death sends"
    assert processes.sweep(f"{town.id}/p1/1", 0.1) == []
    assert processes.tagged(town.id) == []


def test_atomic_write_replaces_with_exact_permissions(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        processes.atomic_write(tmp_path / "file", b"one", 0o644)
        processes.atomic_write(tmp_path / "file", b"two", 0o640)
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"two"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_atomic_write_that_fails_leaves_the_old_and_no_litter(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        processes.atomic_write(tmp_path / "folder", b"data")
    assert os.listdir(tmp_path) == ["folder"]


def test_atomic_write_replaces_a_link_instead_of_following_it(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("target")
    processes.atomic_write(tmp_path / "link", b"data")
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()


def test_file_lock_names_its_holder(tmp_path: Path) -> None:
    with processes.FileLock(tmp_path / "lock", "run"):
        with pytest.raises(Locked, match=rf"is held by vermas run \(pid {os.getpid()}\)"):
            processes.FileLock(tmp_path / "lock").acquire(blocking=False)
        assert processes.lock_held(tmp_path / "lock")
    assert not processes.lock_held(tmp_path / "lock")
    with processes.FileLock(tmp_path / "lock", blocking=False) as lock:
        assert os.get_inheritable(lock.fd) is False
    with pytest.raises(ValueError, match="not locked"):
        _ = lock.fd


def test_file_lock_waits(tmp_path: Path) -> None:
    first, second = processes.FileLock(tmp_path / "lock"), processes.FileLock(tmp_path / "lock")
    first.acquire()
    waiter = threading.Thread(target=second.acquire)
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    first.release()
    waiter.join(10)
    assert second.fd >= 0
    second.release()


def test_file_lock_on_a_file_that_was_replaced(tmp_path: Path) -> None:
    stale = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(stale, fcntl.LOCK_EX)
    lock = processes.FileLock(tmp_path / "lock")
    waiter = threading.Thread(target=lock.acquire)
    waiter.start()
    waiter.join(0.05)
    os.unlink(tmp_path / "lock")
    os.close(stale)
    waiter.join(10)
    assert processes.lock_held(tmp_path / "lock"), "the lock is on the file that others see"
    lock.release()


def test_a_child_keeps_an_inherited_lock(tmp_path: Path) -> None:
    lock = processes.FileLock(tmp_path / "lock")
    lock.acquire()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock.fd])
    lock.release()
    assert processes.lock_held(tmp_path / "lock")
    child.communicate()
    assert not processes.lock_held(tmp_path / "lock")


COUNT = """
import pathlib, sys
from vermas.processes import FileLock
number = pathlib.Path(sys.argv[1], "number")
for _ in range(50):
    with FileLock(number.with_name("lock")):
        number.write_text(str(int(number.read_text()) + 1))
"""


def test_file_lock_excludes(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(3)]
    assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "150"


def test_imports_stay_light() -> None:
    code = "import sys, vermas.processes; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"subprocess", "asyncio", "click", "rich", "git", "libtmux", "pluggy", "tempfile"}
