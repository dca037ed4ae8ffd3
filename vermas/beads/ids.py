"""Ids of new beads: the rig's prefix and random base 36, as short as the number of beads allows."""

from __future__ import annotations

import os
import sqlite3

from vermas.errors import ConfigError, Conflict
from vermas.names import wrong_prefix

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_SHORTEST, _LONGEST = 3, 8
#: A length is enough while the chance that any two ids of the rig would collide is about a quarter: n² < 0.58 · 36ᴸ.
_CROWD = 0.58
_TRIES = 32


def new_id(db: sqlite3.Connection, prefix: str) -> str:
    """An id that no bead of the town has. Call it in the transaction that inserts the bead."""
    wrong = wrong_prefix(prefix)
    if wrong:
        raise ConfigError(f"prefix {prefix!r}: {wrong}")
    count = int(db.execute("SELECT count(*) FROM beads WHERE id >= ? AND id < ?", (f"{prefix}-", f"{prefix}.")).fetchone()[0])
    shortest = id_length(count)
    for length in range(shortest, _LONGEST + 1):
        for _ in range(_TRIES):
            candidate = f"{prefix}-{_random(length)}"
            if not _exists(db, candidate):
                return candidate
    raise Conflict(f"no free id with prefix {prefix!r} was found")


def id_length(count: int) -> int:
    """How many digits the next id gets when `count` beads share its prefix."""
    return next((length for length in range(_SHORTEST, _LONGEST) if count * count < _CROWD * 36**length), _LONGEST)


def child_id(db: sqlite3.Connection, parent: str) -> str:
    """The next `parent.N`; numbers of deleted children are not used again."""
    stem = f"{parent}."
    rows = db.execute("SELECT substr(id, ?) FROM beads WHERE id > ? AND id < ?", (len(stem) + 1, stem, f"{parent}/"))
    numbers = [int(row[0]) for row in rows if row[0].isascii() and row[0].isdigit()]
    return f"{stem}{max(numbers, default=0) + 1}"


def _random(length: int) -> str:
    number = int.from_bytes(os.urandom(16), "big")
    return "".join(_DIGITS[number // 36**place % 36] for place in range(length))


def _exists(db: sqlite3.Connection, bead_id: str) -> bool:
    return db.execute("SELECT 1 FROM beads WHERE id = ?", (bead_id,)).fetchone() is not None
