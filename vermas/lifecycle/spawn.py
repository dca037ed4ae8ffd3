"""The sandbox of a polecat and the start of its sessions."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from dataclasses import replace

from vermas.calls import PluginBusy, PluginTimeout
from vermas.errors import PluginError, VermasError
from vermas.lifecycle import prompt
from vermas.lifecycle.environment import session_environment
from vermas.lifecycle.launcher import search_path
from vermas.lifecycle.site import Site, sandbox_of
from vermas.processes import atomic_write, lock_held, read_exit, read_record, shim_argv, sweep, write_spec
from vermas.store import polecats
from vermas.store.records import dumps
from vermas.types import Launch, Polecat, Sandbox, to_json

_SHIM_GRACE_S = 5.0


def make_sandbox(site: Site, row: sqlite3.Row) -> None:
    """Create the checkout and record it with its identity on disk. Safe to repeat until an agent is started in it."""
    base = row["base_sha"]
    if not base:
        base = site.target.resolve(site.rig)
        with site.store.write() as db:
            polecats.update(db, row["id"], base_sha=base)
    polecat = site.polecat(row)
    os.makedirs(polecat.slot_dir, mode=0o700, exist_ok=True)
    sandbox = site.hooks.sandbox_create(polecat, base)
    place = os.stat(sandbox.path)
    with site.store.write() as db:
        polecats.update(db, row["id"], sandbox=json.dumps(to_json(sandbox)), device=place.st_dev, inode=place.st_ino, failures=0)
        site.record(db, "sandbox-made", row, driver=sandbox.driver, path=sandbox.path, base=base)


def decide_session(site: Site, row: sqlite3.Row) -> None:
    """Count the next session on disk. From now on the sandbox may hold work and is never remade."""
    if row["merge_sha"]:
        site.yard.fetch(site.rig.vault, row["merge_sha"], f"refs/vermas/rework/{row['id']}")
    with site.store.write() as db:
        polecats.update(db, row["id"], handed=1)
        session_no = polecats.decide_session(db, row["id"], secrets.token_hex(16))
        fresh = polecats.get(db, row["id"])
        site.record(db, "session-decided", fresh, session=session_no)


def start_session(site: Site, row: sqlite3.Row, session: sqlite3.Row) -> None:
    """Start the decided session, or find that it already started. A failed start ends it, for the policies to judge."""
    polecat = site.polecat(row)
    sandbox = sandbox_of(row)
    if sandbox is None:
        raise VermasError(f"{row['id']} has no sandbox to start a session in")
    files = SessionPaths(polecat)
    fresh = not (os.path.exists(files.exit) or os.path.exists(files.record))
    if fresh and polecat.session_no > 1:
        sweep(f"{site.rig.town_id}/{row['id']}/", 0.5)
    try:
        launch = _prepare(site, row, session, polecat, sandbox, files, write=fresh)
        handle = site.hooks.session_start(polecat, sandbox, launch)
    except (PluginTimeout, PluginBusy):
        raise  # it may have started, or start yet: not repeated before its thread ends
    except (VermasError, OSError) as error:
        if _did_start(site, row, files):
            raise
        _start_failed(site, row, session, error)
        return
    with site.store.write() as db:
        polecats.update_session(
            db,
            row["id"],
            session["session_no"],
            state="running",
            driver=handle.driver,
            handle=json.dumps(to_json(handle)),
            ready=launch.ready,
            ready_deadline_s=launch.ready_deadline_s,
            delivery=launch.prompt,
        )
        polecats.update(db, row["id"], resume_token=launch.resume_token, failures=0)
        site.record(db, "session-started", row, driver=handle.driver)


class SessionPaths:
    """The files of one session in its polecat's home."""

    __slots__ = ("bead", "exit", "prompt", "record", "spec", "token")

    def __init__(self, polecat: Polecat) -> None:
        number = polecat.session_no
        self.prompt = os.path.join(polecat.home, f"prompt-{number}.md")
        self.token = os.path.join(polecat.home, f"token-{number}")
        self.spec = os.path.join(polecat.home, f"spec-{number}.json")
        self.record = os.path.join(polecat.home, f"shim-{number}.json")
        self.exit = os.path.join(polecat.home, f"exit-{number}.json")
        self.bead = os.path.join(polecat.home, "bead.json")


def _prepare(
    site: Site, row: sqlite3.Row, session: sqlite3.Row, polecat: Polecat, sandbox: Sandbox, files: SessionPaths, *, write: bool
) -> Launch:
    os.makedirs(polecat.home, mode=0o700, exist_ok=True)
    if write:
        sections = site.hooks.prime(polecat)
        text = prompt.render(site.rig, polecat, sandbox, brief=row["brief"], merge_sha=row["merge_sha"], sections=sections)
        bead = dumps(to_json(polecat.bead))
        # not durable: a session does not survive the loss of power that these files would not survive
        for path, content in ((files.prompt, text), (files.bead, bead), (files.token, session["token"])):
            atomic_write(path, _encoded(content), durable=False)
    launch = site.hooks.agent_launch("polecat", polecat, files.prompt, polecat.session_no > 1)
    if launch is None:
        raise PluginError(f"no plugin of rig {site.rig.name} knows the agent {polecat.agent!r}: name one in `plugins`, or set `agent`")
    for file in launch.files:
        atomic_write(file.path, _encoded(file.content), file.mode, durable=False)
    spec = {
        "id": f"{polecat.id}-{polecat.session_no}",
        "lock": site.town.session_lock(polecat.id),
        "record": files.record,
        "exit": files.exit,
        "argv": list(launch.argv),
        "env": session_environment(
            site.rig,
            polecat,
            launch,
            prompt_file=files.prompt,
            token_file=files.token,
            passed=site.env_pass,
            operator=os.environ,
            programs=search_path(site.town.cache),
        ),
        "cwd": sandbox.path,
        "stdin": files.prompt if launch.prompt == "stdin" else None,
        "output": None,
        "grace_s": _SHIM_GRACE_S,
        "poke": site.town.poke_socket(site.rig.name),
        "timeout_s": None,
    }
    write_spec(files.spec, spec)
    return replace(launch, argv=tuple(shim_argv(files.spec)), env={}, secrets=(), files=())


def _encoded(text: str) -> bytes:
    """Of what is no Unicode, the raw bytes of file names stay as they are, and the lone surrogates that JSON can hold become `?`."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def never_started(site: Site, row: sqlite3.Row) -> bool:
    """Whether the present session was decided and no supervisor has begun it."""
    session = polecats.session(site.store.read, row["id"], row["session_no"])
    return session is not None and session["state"] == "starting" and not _did_start(site, row, SessionPaths(site.polecat(row)))


def settle_start(site: Site, row: sqlite3.Row, session: sqlite3.Row) -> None:
    """Give up on what the runtime says about a start: the session runs or ran without a handle, or it never will, having lost its spec."""
    if not never_started(site, row):
        with site.store.write() as db:
            polecats.update_session(db, row["id"], session["session_no"], state="running")
            site.record(db, "session-started", row, driver="")
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SessionPaths(site.polecat(row)).spec)
    _start_failed(site, row, session, VermasError(row["reason"] or "called off"))


def _did_start(site: Site, row: sqlite3.Row, files: SessionPaths) -> bool:
    return lock_held(site.town.session_lock(row["id"])) or read_exit(files.exit) is not None or read_record(files.record) is not None


def _start_failed(site: Site, row: sqlite3.Row, session: sqlite3.Row, error: Exception) -> None:
    why = str(error)
    with site.store.write() as db:
        polecats.update_session(db, row["id"], session["session_no"], state="ended", start_error=why or type(error).__name__)
        site.record(db, "session-start-failed", row, why=why, plugin=getattr(error, "plugin", ""))
