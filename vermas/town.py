"""Where a town is and where its things are: paths, the town's id, its run directory, and the wake-up datagram.

In-session verbs import this module, so it imports nothing but `os`, `stat` and the exceptions at the top. All paths are absolute strings.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from vermas.errors import Conflict, NotFound, UsageError, VermasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

STATE = ".vermas"
CONFIG = "vermas.toml"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_DIRECTORIES = ("sessions", "archive", "cache", "locks")
#: Unix socket addresses end at 107 bytes; the longest name in the run directory is `poke-` and a rig of 39 characters.
_RUN_DIR_BYTES = 60

CONFIG_TEMPLATE = """\
# The configuration of this VerMAS town. This file is yours: VerMAS wrote it once and only reads it from now on.
# What `vermas rig add` and `vermas config set` change is in .vermas/config.toml and wins over this file;
# `vermas config explain KEY` says where a value comes from.

[town]
name = "{name}"

# [defaults]                  # every rig starts from these
# agent = "claude"            # or "script", with options.script.command
# max_polecats = 5
"""


class Town:
    """A town by its root directory. Cheap to make; nothing is read before it is asked for."""

    __slots__ = ("root",)
    root: str

    def __init__(self, root: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "root", os.path.realpath(root))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Town is immutable: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Town) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        return f"Town({self.root!r})"

    @property
    def id(self) -> str:
        """Eight characters, made once at random."""
        try:
            with open(self.id_file, encoding="ascii") as file:
                return file.read().strip()
        except FileNotFoundError:
            raise NotFound("town", self.root, hint="run `vermas init` there") from None

    @property
    def state(self) -> str:
        return os.path.join(self.root, STATE)

    @property
    def config_file(self) -> str:
        """The user's file; VerMAS only reads it."""
        return os.path.join(self.root, CONFIG)

    @property
    def set_file(self) -> str:
        """What verbs set, layered over `config_file`."""
        return os.path.join(self.state, "config.toml")

    @property
    def id_file(self) -> str:
        return os.path.join(self.state, "town-id")

    @property
    def db(self) -> str:
        return os.path.join(self.state, "town.db")

    @property
    def sessions(self) -> str:
        return os.path.join(self.state, "sessions")

    @property
    def archive(self) -> str:
        return os.path.join(self.state, "archive")

    @property
    def cache(self) -> str:
        return os.path.join(self.state, "cache")

    @property
    def locks(self) -> str:
        return os.path.join(self.state, "locks")

    def session_lock(self, polecat_id: str) -> str:
        return os.path.join(self.sessions, f"{polecat_id}.lock")

    def rig_lock(self, rig: str) -> str:
        return os.path.join(self.locks, f"{rig}.lock")

    def rig_dir(self, rig: str) -> str:
        return os.path.join(self.root, rig)

    def yard(self, rig: str) -> str:
        """The bare repository that sandboxes hang on; agents can write it."""
        return os.path.join(self.root, rig, "yard.git")

    def vault(self, rig: str) -> str:
        """The bare repository that only VerMAS writes."""
        return os.path.join(self.root, rig, "repo.git")

    def issues(self, rig: str) -> str:
        return os.path.join(self.root, rig, ".beads", "issues.jsonl")

    def gates(self, rig: str) -> str:
        return os.path.join(self.root, rig, "gates")

    def trash(self, rig: str) -> str:
        return os.path.join(self.root, rig, "trash")

    def orphans(self, rig: str) -> str:
        """Where `vermas doctor --fix` puts sandboxes that belong to no polecat."""
        return os.path.join(self.root, rig, "orphans")

    def polecats(self, rig: str) -> str:
        return os.path.join(self.root, rig, "polecats")

    def slot_dir(self, rig: str, slot: str) -> str:
        return os.path.join(self.root, rig, "polecats", slot)

    def checkout(self, rig: str, slot: str) -> str:
        return os.path.join(self.root, rig, "polecats", slot, rig)

    def home(self, rig: str, slot: str, polecat_id: str) -> str:
        return os.path.join(self.root, rig, "polecats", slot, f".{polecat_id}")

    @property
    def run_dir(self) -> str:
        """The 0700 directory of the town's sockets. Made when missing; chosen once per boot, whatever environment asks later."""
        record = os.path.join(self.state, "run-dir")
        recorded = _read(record)
        if recorded and os.path.isdir(recorded):
            _private(recorded)
            return recorded
        chosen = choose_run_dir(self.id, os.environ)
        _make_private(os.path.dirname(chosen))
        _make_private(chosen)
        write_text(record, chosen)
        return chosen

    @property
    def tmux_socket(self) -> str:
        return os.path.join(self.run_dir, "t")

    def poke_socket(self, rig: str) -> str:
        """Where the running reconciler of a rig listens for wake-ups."""
        return os.path.join(self.run_dir, f"poke-{rig}")


def find(start: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Town:
    """The town named by `start`, else by `VERMAS_TOWN`, else the one around the working directory."""
    if start is not None:
        return _existing(os.fspath(start), "--town")
    named = environ.get("VERMAS_TOWN", "")
    if named:
        return _existing(named, "VERMAS_TOWN")
    here = os.getcwd()
    town = around(here)
    if town is None:
        raise VermasError(f"no town at or above {here}: go to one, name it with --town or VERMAS_TOWN, or make one with `vermas init`")
    return town


def around(directory: str) -> Town | None:
    """The innermost town that contains `directory`."""
    path = os.path.realpath(directory)
    while True:
        if os.path.exists(os.path.join(path, STATE, "town-id")):
            return Town(path)
        parent = os.path.dirname(path)
        if parent == path:
            return None
        path = parent


def create(directory: str | os.PathLike[str], name: str = "") -> Town:
    """Make a town in `directory`, or complete one that an interrupted `create` left. An existing town stays as it is."""
    town = Town(directory)
    outer = around(town.root)
    if outer is not None:
        if outer == town:
            return town
        raise Conflict(f"{town.root} is inside the town {outer.root}: towns do not nest")
    name = name or os.path.basename(town.root)
    if any(ord(char) < 32 or ord(char) == 127 or char in '"\\' for char in name):
        raise UsageError(f"a town cannot be called {name!r}: no quotes, backslashes or control characters")
    try:
        os.makedirs(town.root, exist_ok=True)
        _make_private(town.state)
        for part in _DIRECTORIES:
            _make_private(os.path.join(town.state, part))
        if not os.path.lexists(town.config_file):
            write_text(town.config_file, CONFIG_TEMPLATE.format(name=name), 0o644)
        town_id = _create_store(town)
        write_text(town.id_file, town_id + "\n")  # the last step: its presence says that the town is whole
    except OSError as error:
        raise VermasError(f"cannot make a town in {town.root}: {error.strerror or error}") from error
    return town


def _create_store(town: Town) -> str:
    """The database, and the town's id as it says: a repeated `create` keeps the first one's."""
    from vermas.store import Store

    store = Store.create(town.db, new_id())
    with store.write() as db:
        db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('root', ?)", (town.root,))
    town_id = str(store.read.execute("SELECT value FROM meta WHERE key = 'town_id'").fetchone()[0])
    store.close()
    return town_id


def recorded_root(db: sqlite3.Connection) -> str:
    """Where the town was when its absolute paths (links of worktrees, handles of sessions) were written."""
    row = db.execute("SELECT value FROM meta WHERE key = 'root'").fetchone()
    return str(row[0]) if row else ""


def refuse_moved(town: Town, db: sqlite3.Connection) -> None:
    """Raise Conflict when the town is not where it was, so that nothing is started on links that lead elsewhere."""
    old = recorded_root(db)
    if old in ("", town.root):
        return
    if _read(os.path.join(old, STATE, "town-id")).strip() == town.id:
        raise Conflict(f"{town.root} is a copy of the town {old}, which still exists: use that one, or remove one of the two")
    raise Conflict(f"this town was moved from {old} to {town.root}: run `vermas doctor --fix` to mend its links")


def poke(town: Town, rig: str, message: bytes = b"poke") -> bool:
    """Wake the reconciler of a rig. False when none listens: the work waits in the database for the next one.

    `message` may name the polecat that it is about (`b"done p7"`); without one the reconciler looks at everything.
    """
    import _socket  # `socket` costs 3 ms, and this runs in every in-session verb

    sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        sender.setblocking(False)
        sender.sendto(message, town.poke_socket(rig))
    except BlockingIOError:
        return True  # its queue is full: it is awake
    except (OSError, VermasError):
        return False
    finally:
        sender.close()
    return True


def new_id() -> str:
    return "".join(_ALPHABET[byte % 36] for byte in os.urandom(8))


def choose_run_dir(town_id: str, environ: Mapping[str, str]) -> str:
    """The place for a town's sockets: short enough for a socket address, in a directory that only this user can write."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime and len(os.fsencode(runtime)) <= _RUN_DIR_BYTES - 16 and _is_private(runtime):
        return os.path.join(runtime, "vermas", town_id)
    base = environ.get("TMPDIR", "") or "/tmp"
    path = os.path.join(base, f"vermas-{os.geteuid()}", town_id)
    if len(os.fsencode(path)) > _RUN_DIR_BYTES or not os.path.isdir(base):
        path = os.path.join("/tmp", f"vermas-{os.geteuid()}", town_id)
    return path


def write_text(path: str, text: str, mode: int = 0o600) -> None:
    """Replace a small file: the old text or the new one, never half of it."""
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _existing(root: str, source: str) -> Town:
    town = Town(root)
    if os.path.exists(town.id_file):
        return town
    hint = "its `vermas init` was interrupted: repeat it" if os.path.isdir(town.state) else "make one with `vermas init`"
    raise VermasError(f"{source} says {root!r}, which is not a town; {hint}")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _is_private(path: str) -> bool:
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and stat.S_IMODE(info.st_mode) == 0o700


def _make_private(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        _private(path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700)
        os.mkdir(path, 0o700)


def _private(path: str) -> None:
    if not _is_private(path):
        raise VermasError(f"{path} must be a directory of this user with mode 0700 (drwx------): repair or remove it")
