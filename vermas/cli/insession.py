"""What agents type: `signal`, `assignment`, `prime`, `done`, `handoff`.

Each proves itself with the session's token and writes one transaction; the reconciler does the rest. A session that was replaced is
refused. Nothing here imports click, and `signal` and `assignment` import little more than sqlite3.
"""

from __future__ import annotations

import os
import sys

from vermas.errors import Conflict, UsageError
from vermas.store import events, polecats
from vermas.store.database import Store
from vermas.town import Town, poke

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3

_SIGNAL_BYTES = 65536
_KEPT_KEYS = ("session_id", "source", "reason", "message", "notification_type", "trigger", "error", "hook_event_name", "transcript_path")
_USAGE = {
    "signal": "usage: vermas signal EVENT [--stdin]",
    "assignment": "usage: vermas assignment",
    "prime": "usage: vermas prime",
    "done": "usage: vermas done [--exit completed|escalated|deferred] [--no-change REASON] [-m TEXT]",
    "handoff": "usage: vermas handoff -m TEXT",
}


class Caller:
    """The session that is calling, proven by its token. Raises Conflict when it is not a live session of this town."""

    def __init__(self) -> None:
        environ = os.environ
        try:
            self.polecat_id = environ["VERMAS_POLECAT"]
            self.session_no = int(environ["VERMAS_SESSION_NO"])
            self.town = Town(environ["VERMAS_TOWN"])
            with open(environ["VERMAS_TOKEN_FILE"], encoding="ascii") as file:
                self.token = file.read().strip()
        except (KeyError, ValueError, OSError) as error:
            raise Conflict("this is not a VerMAS session: this verb is for agents that VerMAS started") from error
        self.store = Store(self.town.db)
        self.row = self.prove(self.store.read)

    def prove(self, db: sqlite3.Connection) -> sqlite3.Row:
        """The polecat's row, if this is its present session. Called again inside each transaction."""
        row = polecats.get(db, self.polecat_id)
        session = polecats.session(db, self.polecat_id, self.session_no)
        if row is None or session is None or not _equal(session["token"], self.token):
            raise Conflict(f"the token of session {self.polecat_id}-{self.session_no} is wrong")
        if row["gone"] or row["session_no"] != self.session_no:
            raise Conflict(f"session {self.polecat_id}-{self.session_no} is over: another one has taken its place")
        self.session = session
        return row

    def record(self, db: sqlite3.Connection, kind: str, **data: object) -> None:
        """Append an event of this session."""
        row = self.row
        events.append(
            db,
            rig=row["rig"],
            kind=kind,
            bead_id=row["bead_id"],
            polecat_id=row["id"],
            session_no=self.session_no,
            **data,
        )

    def poke(self, verb: str) -> None:
        """Wake the reconciler, if one is running."""
        poke(self.town, self.row["rig"], f"{verb} {self.polecat_id}".encode())

    @property
    def home(self) -> str:
        return self.town.home(self.row["rig"], self.row["slot"], self.polecat_id)


def main(verb: str, arguments: list[str]) -> int:
    """Run an in-session verb; the exit code."""
    if "--help" in arguments or "-h" in arguments:
        print(_USAGE[verb])
        return 0
    if verb == "signal":
        return signal(arguments)
    if verb == "assignment":
        _parse(verb, arguments, ())
        return assignment()
    if verb == "prime":
        _parse(verb, arguments, ())
        return prime()
    from vermas.cli import finishing

    if verb == "done":
        options = _parse(verb, arguments, ("--exit", "--no-change", "-m"))
        return finishing.done(Caller(), options.get("--exit", "completed"), options.get("--no-change"), options.get("-m", ""))
    message = _parse(verb, arguments, ("-m",)).get("-m", "")
    if not message.strip():
        raise UsageError(_USAGE[verb])
    return finishing.handoff(Caller(), message)


def signal(arguments: list[str]) -> int:
    """Record an event of the agent. `--stdin` adds known fields of a JSON object on standard input."""
    from_stdin = "--stdin" in arguments
    words = [word for word in arguments if word != "--stdin"]
    if len(words) != 1 or not words[0].replace("-", "").isalnum() or not words[0].isascii() or len(words[0]) > 64:
        raise UsageError(_USAGE["signal"] + "; EVENT is letters, digits and hyphens")
    caller = Caller()
    data = _stdin_data() if from_stdin else {}
    with caller.store.write() as db:
        caller.prove(db)
        polecats.signal(db, caller.polecat_id, caller.session_no, words[0], data)
    caller.poke("signal")
    return 0


def assignment() -> int:
    """Print what this session works on as JSON."""
    import json

    from vermas.store import beads

    caller = Caller()
    bead = beads.get(caller.store.read, caller.row["bead_id"])
    data = {
        "polecat": caller.polecat_id,
        "session_no": caller.session_no,
        "rig": caller.row["rig"],
        "branch": caller.row["branch"],
        "submitted": bool(caller.row["submitted"]),
        "bead": None if bead is None else json.loads(bead["record"]),
    }
    print(json.dumps(data, indent=2))
    _acknowledge(caller)
    return 0


def prime() -> int:
    """Print what the agent is told at its start."""
    caller = Caller()
    path = os.path.join(caller.home, f"prompt-{caller.session_no}.md")
    try:
        with open(path, "rb") as file:
            sys.stdout.flush()
            sys.stdout.buffer.write(file.read())
    except FileNotFoundError:
        raise Conflict(f"{path} is gone: look at `vermas assignment` instead") from None
    _acknowledge(caller)
    return 0


def _acknowledge(caller: Caller) -> None:
    if caller.session["acked_mono"] is None:
        with caller.store.write() as db:
            caller.prove(db)
            polecats.signal(db, caller.polecat_id, caller.session_no, "primed", {})
        caller.poke("signal")


def _stdin_data() -> dict[str, str]:
    import json

    try:
        data = json.loads(sys.stdin.buffer.read(_SIGNAL_BYTES + 1)[:_SIGNAL_BYTES])
    except ValueError:
        return {}
    if not isinstance(data, dict):
        return {}
    return {key: data[key][:500] for key in _KEPT_KEYS if isinstance(data.get(key), str)}


def _parse(verb: str, arguments: list[str], names: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name == "--message":
            name = "-m"
        if name not in names:
            raise UsageError(f"{_USAGE[verb]}; not {argument!r}")
        if name in values:
            raise UsageError(f"{_USAGE[verb]}; {name} is given twice")
        following = value if equals else next(rest, None)
        if following is None:
            raise UsageError(f"{_USAGE[verb]}; {name} needs a value")
        values[name] = following
    return values


def _equal(one: str, other: str) -> bool:
    from _operator import _compare_digest  # what hmac.compare_digest is, without hmac's import of OpenSSL

    return _compare_digest(one.encode(), other.encode())
