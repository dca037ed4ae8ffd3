"""A rig's beads as a file: `issues.jsonl` written from the database, and what others changed in it taken back.

`sync` may be cut off anywhere and be repeated. What it is about to write is announced in the database before (`pending_digest`), so a
file that holds exactly that is recognised as its own; any other content is somebody's edit.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from heapq import merge
from itertools import chain
from operator import itemgetter

from vermas.beads import jsonl
from vermas.beads.incoming import Report, merge_document
from vermas.beads.jsonl import Document, digest
from vermas.errors import VermasError
from vermas.processes import FileLock, atomic_write
from vermas.store import Store, beads, events

_TRIES = 5
_NAMED = 50


def import_file(store: Store, rig: str, path: str) -> Report:
    """Merge a file of issues into a rig; the file itself stays as it is. Raises VermasError when it cannot be read."""
    document = jsonl.parse(jsonl.read(path))
    with store.write() as db:
        report = merge_document(db, rig, document, own=False)
        _record(db, rig, "beads-imported", report, path)
    return _with_quarantine(report, path, document)


def export_file(store: Store, rig: str, path: str) -> int:
    """Write a rig's issues to a file, whatever is there; answers how many lines. Not the rig's own file: that is for `sync`."""
    rows = list(_lines(store.read, rig))
    _write(os.path.realpath(path), b"".join(line for _, line in rows))
    return len(rows)


def lines(store: Store, rig: str) -> Iterator[bytes]:
    """The lines of a rig's `issues.jsonl` as the database has them."""
    return (line for _, line in _lines(store.read, rig))


def sync(store: Store, rig: str, path: str) -> Report | None:
    """Take in what others changed in the rig's file, then write it if the database is ahead. None when nobody changed it.

    Costs one `stat` and one query when there is nothing to do. Raises VermasError when the file cannot be read or written: the database
    keeps everything, and the next call tries again.
    """
    path = os.path.realpath(path)
    try:
        if not beads.behind(store.read, rig) and not edited(store, rig, path):
            return None
        return _sync(store, rig, path)
    except OSError as error:
        raise VermasError(f"cannot bring {path} up to date: {error.strerror or error}") from error


def _sync(store: Store, rig: str, path: str) -> Report | None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with FileLock(os.path.join(os.path.dirname(path), ".vermas.lock"), "sync"):
        report = None
        for _ in range(_TRIES):
            report = _take(store, rig, path) or report
            if not beads.behind(store.read, rig) or _give(store, rig, path):
                return report
    raise VermasError(f"{path} changes faster than it can be written: what the database has is not in it yet")


def edited(store: Store, rig: str, path: str) -> bool:
    """Whether the rig's file is not as it was last read or written."""
    row = _state(store.read, rig)
    return fingerprint(os.path.realpath(path)) != ("" if row is None else row["fingerprint"])


def fingerprint(path: str) -> str:
    """What changes whenever a file is changed or replaced; "" for no file."""
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return f"{info.st_dev}:{info.st_ino}:{info.st_size}:{info.st_mtime_ns}:{info.st_ctime_ns}"


def _take(store: Store, rig: str, path: str) -> Report | None:
    """Merge the file when it is not as we know it. None when it is."""
    seen = fingerprint(path)
    row = _state(store.read, rig)
    if row is not None and row["fingerprint"] == seen:
        return None
    data = jsonl.read(path) if seen else b""
    found = digest(data) if seen else ""
    if row is not None and found and found == row["pending_digest"]:
        _adopt(store, rig, data, seen)
        return None
    if row is not None and found == row["digest"]:
        with store.write() as db:
            db.execute("UPDATE bead_files SET fingerprint = ? WHERE rig = ?", (seen, rig))
        return None
    document = jsonl.parse(data)
    with store.write() as db:
        report = merge_document(db, rig, document, own=True)
        db.execute("UPDATE bead_files SET fingerprint = ?, digest = ?, pending_digest = '' WHERE rig = ?", (seen, found, rig))
        if report.inserted or report.changed or report.rejected:
            _record(db, rig, "beads-merged", report, path)
    return _with_quarantine(report, path, document)


def _give(store: Store, rig: str, path: str) -> bool:
    """Write the file. False when somebody changed it meanwhile: nothing was written."""
    known = fingerprint(path)
    state = _state(store.read, rig)
    if state is None or state["fingerprint"] != known:
        return False
    db = store.read
    db.execute("BEGIN")
    try:
        written_seq = int(db.execute("SELECT changed_seq FROM bead_files WHERE rig = ?", (rig,)).fetchone()[0])
        rows = list(_lines(db, rig))
    finally:
        db.execute("COMMIT")
    data = b"".join(line for _, line in rows)
    written = digest(data)
    with store.write() as db:
        db.execute("UPDATE bead_files SET pending_seq = ?, pending_digest = ? WHERE rig = ?", (written_seq, written, rig))
    if fingerprint(path) != known:
        return False
    _write(path, data)
    with store.write() as db:
        _mark(db, rig, written_seq, written, fingerprint(path), rows)
    return True


def _adopt(store: Store, rig: str, data: bytes, seen: str) -> None:
    """The file is what a `_give` wrote before it was cut off: finish its bookkeeping."""
    document = jsonl.parse(data)
    rows = [(line.id, data[line.start : line.end]) for line in document.lines]
    with store.write() as db:
        row = _state(db, rig)
        if row is not None:
            _mark(db, rig, row["pending_seq"], row["pending_digest"], seen, rows)


def _mark(db: sqlite3.Connection, rig: str, seq: int, written: str, seen: str, rows: list[tuple[str, bytes]]) -> None:
    """The file has everything up to `seq`, as `rows`; what changed after that keeps what the file has as its base."""
    db.execute(
        "UPDATE bead_files SET exported_seq = ?, digest = ?, fingerprint = ?, pending_digest = '' WHERE rig = ?", (seq, written, seen, rig)
    )
    later = _changed_since(db, rig, seq)
    if later:
        bases = [(line.decode(), bead_id) for bead_id, line in rows if bead_id in later]
        db.executemany("UPDATE beads SET base = ? WHERE id = ?", bases)


def _changed_since(db: sqlite3.Connection, rig: str, seq: int) -> set[str]:
    return {row[0] for row in db.execute("SELECT id FROM beads WHERE rig = ? AND changed_seq > ?", (rig, seq))}


def _state(db: sqlite3.Connection, rig: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("SELECT * FROM bead_files WHERE rig = ?", (rig,)).fetchone()
    return row


def _lines(db: sqlite3.Connection, rig: str) -> Iterator[tuple[str, bytes]]:
    """(id or "", line): sorted by id, as beads writes them, unless the rig's file never was; then in its order, new ones at the end."""
    state = _state(db, rig)
    issues = "SELECT position, id, record FROM beads WHERE rig = ? ORDER BY "
    foreign = db.execute("SELECT position, '', line FROM bead_lines WHERE rig = ? ORDER BY position", (rig,))
    if state is None or state["by_id"]:
        rows: Iterable[sqlite3.Row] = chain(db.execute(issues + "id", (rig,)), foreign)
    else:
        rows = merge(db.execute(issues + "position", (rig,)), foreign, key=itemgetter(0))
    return ((row[1], f"{row[2]}\n".encode()) for row in rows)


def _write(path: str, data: bytes) -> None:
    try:
        mode = os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mode = 0o600
    try:
        atomic_write(path, data, mode)
    except OSError as error:
        raise VermasError(f"cannot write {path}: {error.strerror or error}; it is as it was") from error


def _record(db: sqlite3.Connection, rig: str, kind: str, report: Report, path: str) -> None:
    events.append(
        db,
        rig=rig,
        kind=kind,
        file=path,
        inserted=len(report.inserted),
        changed=len(report.changed),
        rejected=len(report.rejected),
        beads=[*report.inserted[:_NAMED], *report.changed[:_NAMED]],
        kept_claims=list(report.kept_claims[:_NAMED]),
        lines=[f"{line.number}: {line.reason}" for line in report.rejected[:_NAMED]],
    )


def _with_quarantine(report: Report, path: str, document: Document) -> Report:
    if not document.rejected:
        return report
    try:
        kept = jsonl.quarantine(path, document)
    except OSError:
        kept = ""  # a read-only place: the report still names every line
    return replace(report, quarantine=kept)
