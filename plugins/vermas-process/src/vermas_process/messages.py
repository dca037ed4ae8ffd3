"""Handing a message to a session's host."""

from __future__ import annotations

import hashlib
import socket

from vermas.types import Receipt, Rig, Session
from vermas_process import looking

ANSWER_S = 60.0
_REMOVED = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}


def send(rig: Rig, session: Session, text: str, key: str) -> Receipt:
    """What became of `text`; a key that the host knows is not typed again."""
    if looking.observe(rig, session).state in ("exited", "gone"):
        return _receipt("rejected", "the session is over")
    message = text.translate(_REMOVED).encode("utf-8", "replace")
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_S)
        try:
            connection.connect(str(looking.socket_path(rig, session.id)))
        except OSError as error:
            return _receipt("rejected", f"its host does not listen ({error.strerror})")
        try:
            connection.sendall(b"send %s %d\n%s" % (name.encode(), len(message), message))
        except OSError:
            pass  # refused before the end of it: the answer says why
        return _answer(connection)


def _answer(connection: socket.socket) -> Receipt:
    said = b""
    try:
        while not said.endswith(b"\n"):
            piece = connection.recv(4096)
            if not piece:
                return _receipt("unknown", "its host went away before it answered")
            said += piece
    except OSError as error:
        return _receipt("unknown", f"its host did not answer ({error})")
    state, _, why = said.decode("utf-8", "replace").strip().partition(" ")
    return _receipt(state, why)


def _receipt(state: str, why: str) -> Receipt:
    match state:
        case "delivered":
            return Receipt(state="delivered", channel=looking.DRIVER)
        case "rejected":
            return Receipt(state="rejected", why=why, channel=looking.DRIVER)
    return Receipt(state="unknown", why=why, channel=looking.DRIVER)
