"""Polecats, their sessions, what their agents said, and the steps that were taken for them.

A row of `polecats` is desired state (`want`) and the points of no return (`handed`, `rescued`, `submitted`), each written before the
act that makes going back unsafe. A row of `sessions` is written, and so counted, before the session starts.
"""

from __future__ import annotations

import sqlite3
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DDL = (
    """
    CREATE TABLE polecats (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL DEFAULT '',
        rig TEXT NOT NULL,
        bead_id TEXT NOT NULL,
        slot TEXT NOT NULL,
        place TEXT NOT NULL,
        agent TEXT NOT NULL,
        target TEXT NOT NULL,
        branch TEXT NOT NULL DEFAULT '',
        base_sha TEXT NOT NULL DEFAULT '',
        want TEXT NOT NULL CHECK (want IN ('run', 'stop', 'gone')),
        reason TEXT NOT NULL DEFAULT '',
        outcome TEXT NOT NULL DEFAULT '',
        session_no INTEGER NOT NULL DEFAULT 0,
        handed INTEGER NOT NULL DEFAULT 0,
        submitted INTEGER NOT NULL DEFAULT 0,
        rescued TEXT NOT NULL DEFAULT '',
        destroy INTEGER NOT NULL DEFAULT 0,
        sandbox TEXT NOT NULL DEFAULT '',
        device INTEGER NOT NULL DEFAULT 0,
        inode INTEGER NOT NULL DEFAULT 0,
        work_mark TEXT NOT NULL DEFAULT '',
        resume_token TEXT NOT NULL DEFAULT '',
        brief TEXT NOT NULL DEFAULT '',
        merge_sha TEXT NOT NULL DEFAULT '',
        restart INTEGER NOT NULL DEFAULT 0,
        hold_boot TEXT NOT NULL DEFAULT '',
        hold_mono REAL NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        gone INTEGER NOT NULL DEFAULT 0,
        created_at REAL NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX polecats_id ON polecats (id) WHERE id != ''",
    "CREATE UNIQUE INDEX polecats_slot ON polecats (rig, slot) WHERE gone = 0",
    "CREATE UNIQUE INDEX polecats_bead ON polecats (bead_id) WHERE gone = 0",
    "CREATE INDEX polecats_of_bead ON polecats (bead_id)",
    """
    CREATE TABLE sessions (
        polecat_id TEXT NOT NULL,
        session_no INTEGER NOT NULL,
        bead_id TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('starting', 'running', 'ended')),
        driver TEXT NOT NULL DEFAULT '',
        handle TEXT NOT NULL DEFAULT '',
        token TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        decided_mono REAL NOT NULL,
        decided_at REAL NOT NULL,
        ready TEXT NOT NULL DEFAULT 'process',
        ready_deadline_s REAL NOT NULL DEFAULT 0,
        delivery TEXT NOT NULL DEFAULT 'file',
        prompted INTEGER NOT NULL DEFAULT 0,
        acked_mono REAL,
        progress_mono REAL,
        finished TEXT NOT NULL DEFAULT '',
        finished_mono REAL,
        counted INTEGER NOT NULL DEFAULT 1,
        stopped_by TEXT NOT NULL DEFAULT '',
        start_error TEXT NOT NULL DEFAULT '',
        exit TEXT NOT NULL DEFAULT '',
        tail TEXT NOT NULL DEFAULT '',
        ended_at REAL,
        PRIMARY KEY (polecat_id, session_no)
    ) STRICT
    """,
    "CREATE INDEX sessions_bead ON sessions (bead_id)",
    "CREATE INDEX sessions_live ON sessions (state) WHERE state != 'ended'",
    """
    CREATE TABLE signals (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        polecat_id TEXT NOT NULL,
        session_no INTEGER NOT NULL,
        name TEXT NOT NULL,
        mono REAL NOT NULL,
        data TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX signals_session ON signals (polecat_id, session_no, seq)",
    """
    CREATE TABLE steps (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        polecat_id TEXT NOT NULL,
        session_no INTEGER NOT NULL,
        finding TEXT NOT NULL,
        action TEXT NOT NULL,
        called_human INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        mono REAL NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX steps_once ON steps (polecat_id, session_no, finding)",
)


def boot_id() -> str:
    """An identifier of this boot of the machine: monotonic times of another one are not comparable. Linux; elsewhere the boot time."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return f"{time.time() - time.monotonic():.0f}"[:-1]


def age_s(boot: str, mono: float) -> float:
    """Seconds since a recorded moment; for one of an earlier boot at least the time since this boot."""
    now = time.monotonic()
    return max(0.0, now - mono) if boot == boot_id() else now


def insert(db: sqlite3.Connection, *, rig: str, bead_id: str, slot: str, place: str, agent: str, target: str) -> str:
    """A new polecat that holds the slot. Raises sqlite3.IntegrityError when the slot or the bead has one already."""
    cursor = db.execute(
        "INSERT INTO polecats (rig, bead_id, slot, place, agent, target, want, created_at) VALUES (?, ?, ?, ?, ?, ?, 'run', ?)",
        (rig, bead_id, slot, place, agent, target, time.time()),
    )
    polecat_id = f"p{cursor.lastrowid}"
    branch = f"polecat/{slot}/{bead_id}@{polecat_id}"
    db.execute("UPDATE polecats SET id = ?, branch = ? WHERE number = ?", (polecat_id, branch, cursor.lastrowid))
    return polecat_id


def get(db: sqlite3.Connection, polecat_id: str) -> sqlite3.Row | None:
    """A polecat's row, also of one that is gone."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM polecats WHERE id = ?", (polecat_id,)).fetchone()
    return row


def living(db: sqlite3.Connection, rig: str = "") -> list[sqlite3.Row]:
    """The polecats that hold a slot, of one rig or of all, the oldest first."""
    return db.execute("SELECT * FROM polecats WHERE gone = 0 AND (? = '' OR rig = ?) ORDER BY number", (rig, rig)).fetchall()


def every(db: sqlite3.Connection, rig: str = "", limit: int = 100) -> list[sqlite3.Row]:
    """Polecats of one rig or of all, the newest first, those that are gone included."""
    return db.execute("SELECT * FROM polecats WHERE (? = '' OR rig = ?) ORDER BY number DESC LIMIT ?", (rig, rig, limit)).fetchall()


def of_bead(db: sqlite3.Connection, bead_id: str) -> sqlite3.Row | None:
    """The living polecat of a bead."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM polecats WHERE bead_id = ? AND gone = 0", (bead_id,)).fetchone()
    return row


def in_slot(db: sqlite3.Connection, rig: str, slot: str) -> sqlite3.Row | None:
    """The living polecat of a slot."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM polecats WHERE rig = ? AND slot = ? AND gone = 0", (rig, slot)).fetchone()
    return row


def taken(db: sqlite3.Connection, rig: str) -> list[str]:
    """The slots in use."""
    return [row["slot"] for row in db.execute("SELECT slot FROM polecats WHERE rig = ? AND gone = 0 ORDER BY number", (rig,))]


def update(db: sqlite3.Connection, polecat_id: str, **columns: Any) -> None:
    """Set columns of a polecat."""
    names = ", ".join(f"{name} = ?" for name in columns)
    db.execute(f"UPDATE polecats SET {names} WHERE id = ?", (*columns.values(), polecat_id))


def decide_session(db: sqlite3.Connection, polecat_id: str, token: str) -> int:
    """Count a start, before it happens; answers the new session number."""
    row = get(db, polecat_id)
    if row is None:
        raise LookupError(polecat_id)
    session_no = int(row["session_no"]) + 1
    db.execute("UPDATE polecats SET session_no = ?, restart = 0 WHERE id = ?", (session_no, polecat_id))
    db.execute(
        "INSERT INTO sessions (polecat_id, session_no, bead_id, state, token, boot_id, decided_mono, decided_at)"
        " VALUES (?, ?, ?, 'starting', ?, ?, ?, ?)",
        (polecat_id, session_no, row["bead_id"], token, boot_id(), time.monotonic(), time.time()),
    )
    return session_no


def session(db: sqlite3.Connection, polecat_id: str, session_no: int) -> sqlite3.Row | None:
    """One session's row."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM sessions WHERE polecat_id = ? AND session_no = ?", (polecat_id, session_no)
    ).fetchone()
    return row


def sessions(db: sqlite3.Connection, polecat_id: str) -> list[sqlite3.Row]:
    """All sessions of a polecat, the first first."""
    return db.execute("SELECT * FROM sessions WHERE polecat_id = ? ORDER BY session_no", (polecat_id,)).fetchall()


def live_drivers(db: sqlite3.Connection, rig: str) -> set[str]:
    """The names of the plugins that made a sandbox or session which still exists."""
    import json

    rows = db.execute(
        "SELECT p.sandbox AS sandbox, s.driver AS driver FROM polecats p"
        " LEFT JOIN sessions s ON s.polecat_id = p.id AND s.session_no = p.session_no AND s.state != 'ended'"
        " WHERE p.rig = ? AND p.gone = 0",
        (rig,),
    ).fetchall()
    sandboxes = {json.loads(row["sandbox"])["driver"] for row in rows if row["sandbox"]}
    return sandboxes | {row["driver"] for row in rows if row["driver"]}


def update_session(db: sqlite3.Connection, polecat_id: str, session_no: int, **columns: Any) -> None:
    """Set columns of a session."""
    names = ", ".join(f"{name} = ?" for name in columns)
    db.execute(f"UPDATE sessions SET {names} WHERE polecat_id = ? AND session_no = ?", (*columns.values(), polecat_id, session_no))


def relocate_handles(db: sqlite3.Connection, polecat_id: str, old: str, new: str) -> None:
    """The polecat's own files have moved: runtimes that keep their output there find it at the new place."""
    import json

    there, here = json.dumps(old)[1:-1], json.dumps(new)[1:-1]
    db.execute("UPDATE sessions SET handle = replace(handle, ?, ?) WHERE polecat_id = ?", (there, here, polecat_id))


def signal(db: sqlite3.Connection, polecat_id: str, session_no: int, name: str, data: dict[str, Any]) -> None:
    """Record what an agent said; the first word of a session acknowledges its start."""
    now = time.monotonic()
    db.execute(
        "INSERT INTO signals (polecat_id, session_no, name, mono, data) VALUES (?, ?, ?, ?, ?)",
        (polecat_id, session_no, name, now, _json(data)),
    )
    db.execute(
        "UPDATE sessions SET acked_mono = coalesce(acked_mono, ?) WHERE polecat_id = ? AND session_no = ?",
        (now, polecat_id, session_no),
    )


def _json(data: dict[str, Any]) -> str:
    if not data:
        return "{}"  # the usual case, without an import that costs as much as sqlite3
    import json

    return json.dumps(data)


def signals(db: sqlite3.Connection, polecat_id: str, session_no: int, limit: int = 20) -> list[sqlite3.Row]:
    """The newest signals of a session, in the order in which they came."""
    rows = db.execute(
        "SELECT * FROM signals WHERE polecat_id = ? AND session_no = ? ORDER BY seq DESC LIMIT ?", (polecat_id, session_no, limit)
    ).fetchall()
    return rows[::-1]


def progressed(db: sqlite3.Connection, polecat_id: str, bead_id: str, work_mark: str, session_no: int) -> None:
    """The work moved on: restart budgets of the polecat and the bead start anew."""
    db.execute("UPDATE polecats SET work_mark = ? WHERE id = ?", (work_mark, polecat_id))
    update_session(db, polecat_id, session_no, progress_mono=time.monotonic())
    db.execute("UPDATE sessions SET counted = 0 WHERE bead_id = ? AND counted = 1", (bead_id,))


def starts(db: sqlite3.Connection, polecat_id: str) -> list[float]:
    """The ages of the counted starts of a polecat, the newest first."""
    rows = db.execute(
        "SELECT boot_id, decided_mono FROM sessions WHERE polecat_id = ? AND counted = 1 ORDER BY session_no DESC", (polecat_id,)
    ).fetchall()
    return [age_s(row["boot_id"], row["decided_mono"]) for row in rows]


def bead_starts(db: sqlite3.Connection, bead_id: str) -> int:
    """How many counted starts a bead has had, over all of its polecats."""
    return int(db.execute("SELECT count(*) FROM sessions WHERE bead_id = ? AND counted = 1", (bead_id,)).fetchone()[0])


def record_step(db: sqlite3.Connection, polecat_id: str, session_no: int, *, finding: str, action: str, called_human: bool) -> bool:
    """Note that a step is taken; False when one was already taken for this finding in this session."""
    cursor = db.execute(
        "INSERT OR IGNORE INTO steps (polecat_id, session_no, finding, action, called_human, boot_id, mono) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (polecat_id, session_no, finding, action, int(called_human), boot_id(), time.monotonic()),
    )
    return cursor.rowcount == 1


def steps(db: sqlite3.Connection, polecat_id: str) -> list[sqlite3.Row]:
    """The steps taken for a polecat, the newest last."""
    return db.execute("SELECT * FROM steps WHERE polecat_id = ? ORDER BY seq", (polecat_id,)).fetchall()
