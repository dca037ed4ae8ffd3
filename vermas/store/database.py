"""Opening the database, transactions, schema versions."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vermas.errors import StoreError

SCHEMA_VERSION = 1
_BUSY_S = 30.0


class Store:
    """The coordination state of one town. Connections are per thread; a write transaction is `BEGIN IMMEDIATE … COMMIT`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._local = threading.local()

    @classmethod
    def create(cls, path: str | os.PathLike[str], town_id: str) -> Store:
        """A new database with the present schema. An existing one of the same town is left as it is."""
        from vermas.store.schema import DDL

        store = cls(path)
        os.close(os.open(store.path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        db = store._connect()
        with _translated(store.path):
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in DDL:
                    db.execute(statement)
                db.execute("INSERT INTO meta (key, value) VALUES ('town_id', ?)", (town_id,))
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            db.execute("COMMIT")
        db.close()
        return store

    @property
    def read(self) -> sqlite3.Connection:
        """This thread's connection, outside of any transaction."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._connect()
            with _translated(self.path):
                version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                db.close()
                raise StoreError(f"{self.path} has schema {version}, this vermas knows {SCHEMA_VERSION}: use the vermas that made it")
            self._local.db = db
        return db

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: everything in it happens, or nothing. Nested use is a bug and raises sqlite3.OperationalError."""
        db = self.read
        with _translated(self.path):
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def close(self) -> None:
        """Close this thread's connection."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is not None:
            db.close()
            self._local.db = None

    def _connect(self) -> sqlite3.Connection:
        if not os.path.exists(self.path):
            raise StoreError(f"{self.path} is missing: run `vermas doctor`")
        with _translated(self.path):
            db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA foreign_keys=ON")
        return db


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
        raise StoreError(f"{path}: {error}; nothing was changed") from error
