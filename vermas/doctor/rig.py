"""One rig: repositories, plugins, sandboxes, sessions, beads; and directories that belong to no rig."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator

from vermas import git
from vermas.config import Config
from vermas.doctor.diagnosis import Diagnosis, error, fine, warning
from vermas.errors import GitError, VermasError
from vermas.lifecycle.opening import open_site
from vermas.lifecycle.site import Site
from vermas.store import Store, polecats
from vermas.town import STATE, Town
from vermas.types import Session

_GRACE_S = 5.0


def checks(town: Town, config: Config, name: str, store: Store) -> Iterator[Diagnosis]:
    missing = [path for path in (town.yard(name), town.vault(name)) if git.git_dir(path) is None]
    if missing:
        again = f"vermas rig add {name} {config.rig(name).origin}"
        yield error(name, f"{', '.join(missing)} is no git repository", f"{again} (completes what is missing)")
        return
    yield from _sandboxes(town, name, store)
    yield from _quarantine(town, name)
    try:
        site = open_site(town, config, name)
    except VermasError as wrong:
        yield error(name, str(wrong), f"vermas config explain rigs.{name}.plugins")
        return
    yield _target(site)
    yield from _sessions(site)
    for plugin, check in site.hooks.doctor():
        yield Diagnosis(type(check)(name=f"{name}: {plugin}", status=check.status, message=check.message, hint=check.hint))
    site.store.close()


def _target(site: Site) -> Diagnosis:
    """Is the target branch known? Asking the origin is left to `run`: it may be far away."""
    try:
        sha = site.vault.resolve(git.target_ref(site.rig.target))
    except GitError:
        hint = f"vermas rig add {site.rig.name} {site.rig.origin} (fetches it)"
        return error(site.rig.name, f"its target branch {site.rig.target!r} was never fetched", hint)
    return fine(site.rig.name, f"{site.rig.target} at {sha[:12]}")


def _sandboxes(town: Town, name: str, store: Store) -> Iterator[Diagnosis]:
    """Directories of slots that no living polecat holds. The next polecat of the slot would find them in its way."""
    taken = set(polecats.taken(store.read, name))
    for slot in _directories(town.polecats(name)):
        path = town.slot_dir(name, slot)
        if slot in taken or not os.listdir(path):
            continue

        def mend(path: str = path, slot: str = slot) -> str:
            if slot in polecats.taken(store.read, name):
                return f"nothing: a polecat has taken {slot} since"
            kept = os.path.join(town.orphans(name), f"{slot}-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}")
            os.makedirs(town.orphans(name), 0o700, exist_ok=True)
            os.rename(path, kept)  # as deep as before, so that its relative links to the yard still lead there
            return f"{path} is kept as {kept}"

        said = f"{path} is assigned to no polecat and not empty"
        yield warning(f"{name}: sandboxes", said, "look whether its work is needed; --fix moves it out of the way", mend)


def _quarantine(town: Town, name: str) -> Iterator[Diagnosis]:
    path = f"{town.issues(name)}.quarantine"
    try:
        with open(path, "rb") as file:
            lines = sum(1 for line in file if line.strip() and not line.startswith(b"#"))
    except FileNotFoundError:
        return
    if lines:
        hint = f"mend the lines, `vermas bead import {path} --rig {name}`, then delete the file"
        yield warning(f"{name}: beads", f"{lines} line(s) of issues.jsonl could not be read; they are kept in {path}", hint)


def _sessions(site: Site) -> Iterator[Diagnosis]:
    """Sessions that a runtime knows and no living polecat has."""
    for session in site.hooks.session_discover():
        row = polecats.get(site.store.read, session.polecat_id)
        if row is not None and _current(row, session):
            continue

        def mend(session: Session = session) -> str:
            site.hooks.session_stop(session, _GRACE_S)
            return f"stopped session {session.id}"

        yield error(f"{site.rig.name}: sessions", f"session {session.id} ({session.driver}) has no polecat", "vermas doctor --fix", mend)


def _current(row: sqlite3.Row, session: Session) -> bool:
    return not row["gone"] and row["session_no"] == session.session_no


def strangers(town: Town, config: Config) -> Iterator[Diagnosis]:
    """Directories that look like rigs and are none."""
    for name in _directories(town.root):
        if name != STATE and name not in config.rigs and os.path.isdir(town.yard(name)):
            hint = f"`vermas rig add {name} ORIGIN` completes it; or move the directory away"
            yield warning("rigs", f"{town.rig_dir(name)} looks like a rig, but the configuration has none of that name", hint)


def _directories(path: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
