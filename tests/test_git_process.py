"""One git process: its environment, deadline, errors and inherited locks."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vermas.errors import GitError
from vermas.git import HELD, Repository, run, untrusted
from vermas.testing.plugin import OriginFactory, RigFactory
from vermas.testing.town import git


def test_an_error_names_the_command_and_the_reason(vermas_origin: OriginFactory) -> None:
    with pytest.raises(GitError, match=r"git rev-parse --verify nope failed with exit code 128: fatal: Needed a single revision") as caught:
        run(vermas_origin(), "rev-parse", "--verify", "nope")
    assert caught.value.returncode == 128
    assert caught.value.argv[1:] == ("rev-parse", "--verify", "nope")


def test_other_exit_codes_can_be_answers(vermas_origin: OriginFactory) -> None:
    assert run(vermas_origin(), "config", "no.such", ok=(0, 1)).returncode == 1


def test_a_late_git_is_ended_with_its_children(vermas_origin: OriginFactory, tmp_path: Path, vermas_wait: Callable[..., object]) -> None:
    alias = f"alias.slow=!echo $$ >{tmp_path}/pid; sleep 60"
    with pytest.raises(GitError, match=r"took longer than 0\.5 s") as caught:
        run(vermas_origin(), "-c", alias, "slow", timeout_s=0.5)
    assert caught.value.returncode is None
    pid = int((tmp_path / "pid").read_text())
    vermas_wait(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3])


def test_a_killed_git_is_an_error_whatever_codes_are_answers(vermas_origin: OriginFactory) -> None:
    with pytest.raises(GitError, match=r"was killed by signal 9") as caught:
        run(vermas_origin(), "-c", "alias.die=!kill -9 $PPID", "die", ok=(0, 1, 128))
    assert caught.value.returncode == -signal.SIGKILL


def test_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vermas.git import process

    process.program.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        with pytest.raises(GitError, match="git is not installed or not on PATH"):
            run(None, "version")
    finally:
        process.program.cache_clear()


def test_the_callers_git_variables_are_left_out(vermas_origin: OriginFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = vermas_origin()
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.abbrev'='4'")
    assert run(origin, "rev-parse", "--git-dir").text == str(origin)


def test_the_users_configuration_is_read_only_for_origins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vermas.git import process

    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Somebody\n")
    process._environment.cache_clear()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    assert run(None, "config", "user.name", ok=(0, 1)).text == ""
    assert run(None, "config", "user.name", user_config=True).text == "Somebody"
    process._environment.cache_clear()


def test_held_locks_outlive_the_parent_in_its_git(vermas_origin: OriginFactory, tmp_path: Path) -> None:
    """A descriptor in HELD is inherited, so the lock is held for as long as git runs; others are not."""
    held, other = os.open(tmp_path / "held", os.O_CREAT | os.O_RDWR), os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)
    token = HELD.set((held,))
    try:
        listing = run(vermas_origin(), "-c", "alias.fds=!ls -l /proc/self/fd", "fds").text
    finally:
        HELD.reset(token)
    assert str(tmp_path / "held") in listing
    assert str(tmp_path / "other") not in listing
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(held)
    os.close(other)


def test_no_terminal_is_ever_asked(tmp_path: Path) -> None:
    """A server that wants a password fails at once instead of waiting for a human."""
    began = time.monotonic()
    with pytest.raises(GitError):
        run(None, "credential", "fill", input=b"protocol=https\nhost=example.org\n\n", user_config=True, timeout_s=20)
    assert time.monotonic() - began < 10


def test_an_untrusted_repository_is_read_with_the_vaults_configuration(vermas_rig: RigFactory) -> None:
    rig = vermas_rig()
    git(rig.yard, "config", "alias.canary", "!echo executed")
    git(rig.yard, "config", "core.abbrev", "5")
    with pytest.raises(GitError, match="canary"):
        run(None, "canary", env=untrusted(rig.yard, rig.vault, common=rig.yard))
    assert Repository(rig.yard, vault=rig.vault).refs("refs/vermas/base") == Repository(rig.vault).refs("refs/vermas/base")


def test_refs_written_to_an_untrusted_repository_stay_there(vermas_rig: RigFactory) -> None:
    rig = vermas_rig()
    yard, vault = Repository(rig.yard, vault=rig.vault), Repository(rig.vault)
    base = vault.resolve("refs/vermas/base/main")
    yard.update_ref("refs/heads/mine", base)
    assert git(rig.yard, "rev-parse", "refs/heads/mine") == base
    assert vault.ref("refs/heads/mine") is None
    git(rig.yard, "pack-refs", "--all")
    assert yard.ref("refs/heads/mine") == base
    yard.delete_ref("refs/heads/mine", base)
    assert yard.ref("refs/heads/mine") is None


def test_file_names_come_through_as_they_are(vermas_origin: OriginFactory) -> None:
    name = os.fsdecode(b'latin-\xe9 "quoted"\nnext')
    origin = vermas_origin(bare=False)
    (origin / name).write_text("x")
    git(origin, "add", "-A")
    assert run(origin, "ls-files", "-z").fields() == ["README.md", name]
