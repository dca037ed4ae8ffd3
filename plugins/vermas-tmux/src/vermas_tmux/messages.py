"""Give text to an agent: pasted as one piece, then Enter, each key at most once.

Every key is written down before its text goes out and again when it arrived. A key that was written once only may have been delivered: it
is answered with `unknown` for ever, never sent again.
"""

from __future__ import annotations

import fcntl
import json
import os
import re

from vermas.types import Receipt, Rig, Session
from vermas_tmux.client import ACT_S, NoServer, TmuxError, ask
from vermas_tmux.panes import Pane, find_pane
from vermas_tmux.sessions import home_of, options_of

_CHANNEL = "tmux"
_END_OF_PASTE = "\x1b[201~"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """`text` without the end-of-paste sequence and without control characters other than newline and tab."""
    while _END_OF_PASTE in text:
        text = text.replace(_END_OF_PASTE, "")
    return _CONTROL.sub("", text)


def send(rig: Rig, session: Session, text: str, key: str) -> Receipt:
    """Deliver `text` once under `key`. Sends to one session wait for each other, so that messages do not mix."""
    home = home_of(rig, session)
    try:
        journal = os.open(
            home / f"sent-{session.session_no}.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except FileNotFoundError:
        return Receipt(state="rejected", why=f"the polecat's directory {home} is gone", channel=_CHANNEL)
    try:
        fcntl.flock(journal, fcntl.LOCK_EX)
        return _known(journal, key) or _deliver(journal, rig, session, plain(text), key)
    finally:
        os.close(journal)


def _known(journal: int, key: str) -> Receipt | None:
    """The receipt of a key that was seen before."""
    seen = None
    for line in os.pread(journal, os.fstat(journal).st_size, 0).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # torn by a crash before anything was sent
        if entry.get("key") == key:
            seen = entry["state"]
    if seen is None:
        return None
    if seen == "delivered":
        return Receipt(state="delivered", why="delivered before", channel=_CHANNEL)
    return Receipt(state="unknown", why="an earlier attempt under this key was interrupted", channel=_CHANNEL)


def _deliver(journal: int, rig: Rig, session: Session, text: str, key: str) -> Receipt:
    try:
        pane = find_pane(session.locator["socket"], rig.town_id, session.id)
    except TmuxError as error:
        return Receipt(state="unknown", why=str(error), channel=_CHANNEL)
    if pane is None or pane.dead:
        return Receipt(state="rejected", why="the session is over", channel=_CHANNEL)
    if pane.input_off:
        return Receipt(state="rejected", why="somebody has switched the pane's input off", channel=_CHANNEL)
    _note(journal, key, "sending")
    try:
        after = ask(
            session.locator["socket"],
            *_paste(session, pane, len(text), options_of(rig).submit_delay_s),
            stdin=text.encode(),
            deadline_s=ACT_S,
        )
    except NoServer:
        return Receipt(state="unknown", why="the tmux server ended meanwhile", channel=_CHANNEL)
    except TmuxError as error:
        return Receipt(state="unknown", why=str(error), channel=_CHANNEL)
    if after.strip() != f"{session.id} 0 0":
        return Receipt(state="unknown", why="the session ended while the message was sent", channel=_CHANNEL)
    _note(journal, key, "delivered")
    return Receipt(state="delivered", channel=_CHANNEL)


def _paste(session: Session, pane: Pane, size: int, delay_s: float) -> list[list[str]]:
    """Both buffers go to the program itself, also while a human scrolls (a key would go to the scroll mode);
    then a look whether it lives."""
    text, enter = f"vermas-{session.id}-text", f"vermas-{session.id}-enter"
    pause = [["run-shell", "-d", f"{delay_s:g}"]] if delay_s > 0 else []
    paste = [["load-buffer", "-b", text, "-"], ["paste-buffer", "-d", "-p", "-r", "-b", text, "-t", pane.id]]
    return [
        *(paste if size else []),
        *pause,
        ["set-buffer", "-b", enter, "\r"],
        ["paste-buffer", "-d", "-r", "-b", enter, "-t", pane.id],
        ["display-message", "-p", "-t", pane.id, "#{@vermas_session} #{pane_dead} #{pane_input_off}"],
    ]


def _note(journal: int, key: str, state: str) -> None:
    line = json.dumps({"key": key, "state": state}).encode() + b"\n"
    if not _ends_line(journal):
        line = b"\n" + line
    while line:
        line = line[os.write(journal, line) :]
    os.fsync(journal)


def _ends_line(journal: int) -> bool:
    size = os.fstat(journal).st_size
    return size == 0 or os.pread(journal, 1, size - 1) == b"\n"
