"""Small real towns for tests: what the fixtures of `vermas.testing.plugin` are made of."""

from __future__ import annotations

import os
import secrets
import shutil
import string
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vermas.testing.reaper import end_marked
from vermas.types import Bead, Launch, Polecat, Rig, Slot

IDENTITY = {
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}


def git(where: Path | str, *args: str, stdin: bytes | None = None) -> str:
    """Run git in `where` with a configuration and an identity of its own; the stripped output. Raises CalledProcessError with stderr."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", os.fspath(where), *args], input=stdin, capture_output=True, check=False, timeout=60, env=inherited | IDENTITY
    )
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="surrogateescape").strip()


def make_repository(path: Path, files: Mapping[str, str | bytes], *, bare: bool = True, branch: str = "main") -> Path:
    """A repository at `path` with one commit of `files` on `branch`."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "--template=", f"--initial-branch={branch}", *(["--bare"] if bare else []))
    git(path, "fast-import", "--quiet", stdin=_first_commit(files, branch))
    if not bare:
        git(path, "reset", "-q", "--hard")
    return path


def _first_commit(files: Mapping[str, str | bytes], branch: str) -> bytes:
    stream = bytearray(f"commit refs/heads/{branch}\ncommitter Test <test@example.org> 1700000000 +0000\ndata 6\nfirst\n\n".encode())
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        stream += f"M 100644 inline {name}\ndata {len(data)}\n".encode() + data + b"\n"
    return bytes(stream)


class Town:
    """A town directory with an id and a short run directory (socket paths end at 107 bytes); `close` ends all that ran in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = "".join(secrets.choice(string.digits + string.ascii_lowercase) for _ in range(8))
        self.run_dir = Path(tempfile.mkdtemp(prefix="vt-", dir="/tmp"))
        state = path / ".vermas"
        for directory in (state, state / "sessions", state / "locks"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (state / "town-id").write_text(self.id)

    def rig(self, origin: Path, overrides: Mapping[str, Any]) -> Rig:
        """A rig of this town with yard and vault fetched from `origin`; `overrides` are fields of `Rig`."""
        name = overrides.get("name", "app")
        path = self.path / name
        fields: dict[str, Any] = {
            "name": name,
            "town_id": self.id,
            "town": str(self.path),
            "path": str(path),
            "yard": str(path / "yard.git"),
            "vault": str(path / "repo.git"),
            "run_dir": str(self.run_dir),
            "origin": str(origin),
            "target": "main",
            "prefix": "app",
            "check": "true",
            "agent": "script",
            "max_polecats": 5,
            "plugins": (),
        }
        rig = Rig(**{**fields, **overrides})
        for repository in (rig.yard, rig.vault):
            Path(repository).mkdir(parents=True)
            git(repository, "init", "-q", "--template=", "--bare", f"--initial-branch={rig.target}")
            git(repository, "fetch", "-q", "--no-tags", rig.origin, f"+refs/heads/{rig.target}:refs/vermas/base/{rig.target}")
        return rig

    def close(self) -> None:
        end_marked([f"VERMAS_SESSION={self.id}/".encode(), os.fsencode(self.run_dir)])
        shutil.rmtree(self.run_dir, ignore_errors=True)


def make_polecat(rig: Rig, slot: str, number: int, session_no: int, bead: Mapping[str, Any]) -> Polecat:
    """The polecat `p<number>` of `rig` with its slot directory and home; `bead` holds fields of its bead."""
    fields: dict[str, Any] = {"id": f"{rig.prefix}-{number}", "rig": rig.name, "title": f"Bead {number}"}
    work = Bead(**{**fields, **bead})
    slot_dir = Path(rig.path, "polecats", slot)
    home = slot_dir / f".p{number}"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Polecat(
        id=f"p{number}",
        rig=rig.name,
        bead=work,
        slot=Slot(name=slot),
        session_no=session_no,
        slot_dir=str(slot_dir),
        home=str(home),
        branch=f"polecat/{slot}/{work.id}@p{number}",
        agent=rig.agent,
        actor=f"{rig.name}/polecats/{slot}",
    )


def tag(rig: Rig, polecat: Polecat) -> str:
    """The value of `VERMAS_SESSION` in the environment of every process of the polecat's present session."""
    return f"{rig.town_id}/{polecat.id}/{polecat.session_no}"


def lock_file(rig: Rig, polecat: Polecat) -> Path:
    """The lock that the supervisor holds while a session of the polecat lives."""
    return Path(rig.town, ".vermas", "sessions", f"{polecat.id}.lock")


def record_file(polecat: Polecat) -> Path:
    """Where the supervisor says who it is: see `vermas.processes.read_record`."""
    return Path(polecat.home, f"shim-{polecat.session_no}.json")


def exit_file(polecat: Polecat) -> Path:
    """Where the supervisor says how the session ended: see `vermas.processes.read_exit`."""
    return Path(polecat.home, f"exit-{polecat.session_no}.json")


def make_launch(rig: Rig, polecat: Polecat, argv: list[str], env: Mapping[str, str], stdin: Path | None) -> Launch:
    """A launch of `argv` as the core hands it to a runtime: wrapped in the supervisor, the environment in the 0600 spec file only."""
    from vermas import processes

    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    spec = Path(polecat.home, f"spec-{polecat.session_no}.json")
    processes.write_spec(
        spec,
        {
            "id": f"{polecat.id}-{polecat.session_no}",
            "lock": str(lock_file(rig, polecat)),
            "record": str(record_file(polecat)),
            "exit": str(exit_file(polecat)),
            "argv": argv,
            "env": {**inherited, "TERM": "xterm-256color", **env, "VERMAS_SESSION": tag(rig, polecat)},
            "cwd": str(Path(polecat.slot_dir, rig.name)),
            "stdin": None if stdin is None else str(stdin),
            "output": None,
            "grace_s": 2.0,
            "poke": "",
            "timeout_s": None,
        },
    )
    return Launch(argv=tuple(processes.shim_argv(str(spec))))
