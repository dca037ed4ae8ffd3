"""Agent sessions without tmux: a small host process per session keeps its terminal, its log and its input socket.

Files are the interface: whatever looks at a session (`observe`, `read`, `discover`) reads them and starts no process, also from a VerMAS
that was started later. How a host works is in `vermas_process.host`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vermas.hookspecs import hookimpl

if TYPE_CHECKING:
    from vermas.types import Check, Launch, Observation, Output, Polecat, Receipt, Rig, Sandbox, Session

NAME = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`[rigs.R.options.process]`.

    `log_bytes`: how much of a session's newest output is kept, in bytes; its files take at most a quarter more.
    `rows`, `columns`: the size of a session's terminal, in characters, until somebody attaches with another.
    """

    log_bytes: int = 10_000_000
    rows: int = 50
    columns: int = 200

    def __post_init__(self) -> None:
        for name, least, most in (("log_bytes", 4096, 1 << 40), ("rows", 2, 5000), ("columns", 20, 5000)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be between {least} and {most}, not {getattr(self, name)}")


@hookimpl
def vermas_session_start(rig: Rig, polecat: Polecat, sandbox: Sandbox, launch: Launch) -> Session:
    """Start a host that runs the launch; a session that has a record already is answered from it."""
    from vermas_process import starting

    return starting.start(rig, polecat, sandbox, launch)


@hookimpl
def vermas_session_observe(rig: Rig, sessions: Sequence[Session]) -> dict[str, Observation] | None:
    """Look at records and locks: no process, no waiting."""
    from vermas_process import looking

    mine = [session for session in sessions if session.driver == NAME]
    return {session.id: looking.observe(rig, session) for session in mine}


@hookimpl
def vermas_session_read(rig: Rig, session: Session, cursor: int, limit_bytes: int) -> Output | None:
    """Read the log's segments; also after the end, as long as the polecat's home is kept."""
    from vermas_process import looking, output

    if session.driver != NAME:
        return None
    over = looking.is_over(rig, session)  # first: what is written after this look must not be hidden by an early `eof`
    return output.read(looking.home(session), session.id, cursor, limit_bytes, over)


@hookimpl
def vermas_session_send(rig: Rig, session: Session, text: str, key: str) -> Receipt | None:
    """Ask the host to type a message; it remembers keys as long as the session lives."""
    from vermas_process import messages

    return messages.send(rig, session, text, key) if session.driver == NAME else None


@hookimpl
def vermas_session_stop(rig: Rig, session: Session, grace_s: float) -> None:
    """End the supervisor and with it the tree, then the host."""
    from vermas_process import stopping

    if session.driver == NAME:
        stopping.stop(rig, session, grace_s)


@hookimpl
def vermas_session_discover(rig: Rig) -> list[Session]:
    """Collect the records of living hosts."""
    from vermas_process import looking

    return looking.discover(rig)


@hookimpl
def vermas_session_attach(rig: Rig, session: Session) -> list[str] | None:
    r"""A small client that connects the user's terminal; Ctrl-\ detaches."""
    from vermas_process import looking, starting

    if session.driver != NAME or looking.observe(rig, session).state != "alive":
        return None
    return starting.attach_argv(looking.socket_path(rig, session.id))


@hookimpl
def vermas_doctor(rig: Rig) -> list[Check]:
    """Pseudo-terminals, the run directory, and what the kernel offers."""
    from vermas_process import doctor

    return doctor.check(rig)
