"""Ask a tmux server, in one process, within a deadline.

libtmux's `Server.cmd` is not used here: it has no deadline (a stopped server would hold the caller for ever), no standard input (which
`load-buffer -` needs) and passes on the caller's environment, which becomes that of the server and of every session.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket as sockets
import subprocess
from collections.abc import Sequence

from vermas.errors import VermasError

LOOK_S = 2.0
ACT_S = 10.0
_KEPT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")


class TmuxError(VermasError):
    """tmux could not do what was asked; the message carries what it said."""


class NoServer(TmuxError):
    """No tmux server listens on the socket: it has no sessions."""


class Unreachable(TmuxError):
    """The tmux server, if there is one, did not answer: nothing is known."""


def binary() -> str:
    """The path of tmux. Raises TmuxError when there is none."""
    found = shutil.which("tmux")
    if found is None:
        raise TmuxError("tmux is not installed or not on PATH; install it, or give the rig another runtime (`-p no:tmux -p process`)")
    return found


def ask(socket: str, *commands: Sequence[str], conf: str = os.devnull, stdin: bytes | None = None, deadline_s: float = LOOK_S) -> str:
    """Run tmux commands one after another, up to the first that fails; what they printed. The server sees them as one request.

    Raises NoServer or Unreachable when that is what went wrong, else TmuxError with tmux's own words.
    """
    argv = [binary(), "-S", socket, "-f", conf]
    for number, command in enumerate(commands):
        argv += [";"] if number else []
        argv += [_word(word) for word in command]
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=deadline_s,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"tmux at {socket} did not answer within {deadline_s:g} s") from None
    except OSError as error:
        raise Unreachable(f"cannot run tmux: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        if not _listening(socket):
            raise NoServer(f"no tmux server at {socket}: {said}")
        raise TmuxError(f"tmux {commands[0][0]}: {said}")
    return done.stdout.decode(errors="replace")


def _word(word: str) -> str:
    """`word` so that tmux takes it as it is: a `;` at the end would separate commands."""
    return word[:-1] + "\\;" if word.endswith(";") else word


def _listening(socket: str) -> bool:
    """Whether anything may listen on `socket`; only a clear no is no. tmux's own messages differ between versions."""
    with sockets.socket(sockets.AF_UNIX) as probe:
        probe.settimeout(LOOK_S)
        try:
            probe.connect(socket)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
    return True


def literal(text: str) -> str:
    """`text` so that tmux's format expansion gives it back; `#` right before `[` is no format and must not be doubled."""
    return re.sub(r"#+(?!#*\[)", lambda run: run[0] * 2, text)


def shell_literal(path: str) -> str:
    """`path` as one word of a shell command that tmux expands as a format, and as a time, before the shell sees it."""
    return shlex.quote(path).replace("#", "##''").replace("%", "%%")
