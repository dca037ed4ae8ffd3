"""The exceptions of VerMAS and the exit codes they become on the command line.

Every error that a user or a plugin author can cause is a `VermasError`: one line that says what is wrong, where, and what to do.
"""

from __future__ import annotations

TYPE_CHECKING = False  # a literal, so that in-session verbs do not pay for importing typing
if TYPE_CHECKING:
    from collections.abc import Iterable


class VermasError(Exception):
    """A failure with a one-line message for the user; the CLI prints it on stderr and exits with `exit_code`."""

    exit_code = 1


class UsageError(VermasError):
    """The command line or an argument of a public function is malformed."""

    exit_code = 2


class ConfigError(VermasError):
    """`vermas.toml`, `.vermas/config.toml` or an option of a plugin is wrong."""

    exit_code = 3


class NotFound(VermasError):
    """Something named does not exist. The message names what does, and the nearest name."""

    exit_code = 4

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), hint: str = "") -> None:
        import difflib

        names = sorted(set(known))
        near = difflib.get_close_matches(name, names, n=1)
        parts = [f"no {kind} named {name!r}"]
        if near:
            parts.append(f"did you mean {near[0]!r}?")
        elif names:
            shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            parts.append(f"there is: {shown}")
        if hint:
            parts.append(hint)
        super().__init__("; ".join(parts))
        self.kind = kind
        self.name = name


class PluginError(VermasError):
    """A plugin is missing, broken, incompatible or answered what its hook does not allow."""

    exit_code = 5


class GitError(VermasError):
    """A git command failed, was killed or timed out.

    `argv` is the command, `returncode` its exit code (negative: killed by that signal; None: it timed out or did not start),
    `stderr` the tail of what it printed.
    """

    exit_code = 6

    def __init__(self, message: str, *, argv: tuple[str, ...] = (), returncode: int | None = None, stderr: str = "") -> None:
        super().__init__(message)
        self.argv = argv
        self.returncode = returncode
        self.stderr = stderr


class StoreError(VermasError):
    """The town's database cannot be read or written (corrupt, newer schema, full or read-only disk)."""

    exit_code = 7


class Conflict(VermasError):
    """The request contradicts the present state: already claimed, already closed, another holder, a stale session."""

    exit_code = 8


class RunError(VermasError):
    """`vermas run` ended with chosen beads that did not land."""

    exit_code = 9


class Locked(VermasError):
    """Another process holds the lock that this command needs."""

    exit_code = 75


class Unsupported(Exception):
    """Raised by a hook implementation for a thing that its back end cannot do (for instance `vermas_session_send`)."""
