"""Opening the database, transactions, schema versions."""

from __future__ import annotations

import os
import sqlite3
import threading

from vermas.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

SCHEMA_VERSION = 1
_BUSY_S = 30.0
_FULL_BYTES = 1 << 20


class Store:
    """The coordination state of one town. Connections are per thread; a write transaction is `BEGIN IMMEDIATE … COMMIT`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._local = threading.local()
        self.turn = threading.RLock()

    @classmethod
    def create(cls, path: str | os.PathLike[str], town_id: str) -> Store:
        """A new database with the present schema. An existing one of the same town is left as it is."""
        from vermas.store.schema import DDL

        store = cls(path)
        os.close(os.open(store.path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            db = store._connect()
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in DDL:
                    db.execute(statement)
                db.execute("INSERT INTO meta (key, value) VALUES ('town_id', ?)", (town_id,))
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            db.execute("COMMIT")
            db.close()
        except sqlite3.Error as error:
            raise store.error(error) from error
        return store

    @property
    def read(self) -> sqlite3.Connection:
        """This thread's connection, outside of any transaction."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            try:
                db = self._connect()
                version = db.execute("PRAGMA user_version").fetchone()[0]
            except sqlite3.Error as error:
                raise self.error(error) from error
            if version != SCHEMA_VERSION:
                db.close()
                raise StoreError(f"{self.path} has schema {version}, this vermas knows {SCHEMA_VERSION}: use the vermas that made it")
            self._local.db = db
        return db

    def write(self) -> Transaction:
        """One transaction as a context manager: everything in it happens, or nothing."""
        return Transaction(self)

    def close(self) -> None:
        """Close this thread's connection."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is not None:
            db.close()
            self._local.db = None

    def error(self, error: sqlite3.Error) -> StoreError:
        """The one-line form of a database error."""
        return StoreError(f"{self.path}: {error}{_disk(self.path)}; nothing was changed")

    def _connect(self) -> sqlite3.Connection:
        if not os.path.exists(self.path):
            raise StoreError(f"{self.path} is missing: run `vermas doctor`")
        db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous=FULL")
        return db


def _disk(path: str) -> str:
    """What the disk has to do with an error, which SQLite does not say."""
    try:
        disk = os.statvfs(os.path.dirname(path))
    except OSError:
        return ""
    if disk.f_flag & os.ST_RDONLY:
        return ": the file system is read-only"
    return ": the disk is full, make room" if disk.f_bavail * disk.f_frsize < _FULL_BYTES else ""


class Transaction:
    """`with store.write() as db:` begins, commits at the end, and rolls back on any exception."""

    __slots__ = ("_db", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db = store.read

    def __enter__(self) -> sqlite3.Connection:
        self._store.turn.acquire()  # threads of one process queue here: SQLite would have them sleep and try again
        try:
            self._run("BEGIN IMMEDIATE")
        except BaseException:
            self._store.turn.release()
            raise
        return self._db

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._end(kind, error)
        finally:
            self._store.turn.release()

    def _end(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if kind is None:
            self._run("COMMIT")
            return
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            raise self._store.error(error) from error

    def _run(self, statement: str) -> None:
        try:
            self._db.execute(statement)
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._store.error(error) from error
