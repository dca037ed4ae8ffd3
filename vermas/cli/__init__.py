"""The command line. What agents type in their sessions, and what only prints, takes a short way that imports neither click nor a plugin."""

from __future__ import annotations

import gc
import os
import sys

#: Verbs for agents: `vermas.cli.insession.main(verb, arguments)` answers the exit code.
IN_SESSION = ("signal", "assignment", "done", "handoff", "prime")
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def main(argv: list[str] | None = None) -> int:
    """The exit code for the command line `argv`; as the console script (None) what takes the short way ends the process itself."""
    arguments = sys.argv[1:] if argv is None else argv
    first = arguments[0] if arguments else "--help"
    if first not in (*IN_SESSION, "--version", "--help", "-h"):
        from vermas.cli.app import run

        return guarded(lambda: run(arguments))
    if argv is not None:
        return guarded(lambda: _short(first, arguments[1:]))
    gc.disable()
    code = guarded(lambda: _short(first, arguments[1:]))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)  # taking the interpreter apart costs a fifth of such a verb


def _short(first: str, arguments: list[str]) -> int:
    if first in IN_SESSION:
        from vermas.cli.insession import main as in_session

        return in_session(first, arguments)
    if first == "--version":
        from vermas import __version__

        print(f"vermas {__version__}")
    else:
        from vermas.cli.verbs import help_text

        print(help_text())
    return 0


def guarded(act: Callable[[], int | None]) -> int:
    """Run a command: its errors become one line on stderr and an exit code, a bug stays a traceback."""
    from vermas.errors import VermasError

    try:
        code = act() or 0
        sys.stdout.flush()
    except VermasError as error:
        return failed(str(error), error.exit_code)
    except BrokenPipeError:
        # Python flushes stdout once more at its end; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return failed("interrupted", 130)
    except UnicodeEncodeError as error:
        if error.reason != "surrogates not allowed":
            raise
        return failed(f"{error.object[:60]!r} is not UTF-8", 2)
    except OSError as error:
        if not environmental(error):
            raise
        return failed(f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror or error}", 1)
    except _database_errors() as error:
        if type(error).__name__ not in ("DatabaseError", "OperationalError"):
            raise
        return failed(f"the town's database: {error}; `vermas doctor` says more", 7)
    return code


def _database_errors() -> tuple[type[Exception], ...]:
    """SQLite's exceptions, when it was used at all: a damaged or full database is no bug."""
    return (sys.modules["sqlite3"].DatabaseError,) if "sqlite3" in sys.modules else ()


def failed(message: str, code: int) -> int:
    """One line on stderr, with whatever could steer a terminal made visible."""
    from vermas.cli.output import one_line

    print(f"vermas: {one_line(message)}", file=sys.stderr)
    return code


def environmental(error: OSError) -> bool:
    """Whether an error is the machine's state (full or read-only disk, permissions, too many files) and not a bug."""
    import errno

    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE)
