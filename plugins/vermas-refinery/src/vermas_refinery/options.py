"""The options of the refinery, `[rigs.R.options.refinery]`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """How candidates are built and checked.

    `timeout_s`: how long a check may run before it is ended and counts as failed.
    `attempts`: how often a check that was killed or could not run is started before a human is asked.
    `env`: names of further variables of the operator's environment that the check sees; without them it gets PATH, HOME, the
    locale, TMPDIR and little else, so no secrets.
    `author`: `Name <email>` of the merge commits.
    `log_lines`: how many of the last lines of a failed check are sent back to the agent.
    """

    timeout_s: float = 1800.0
    attempts: int = 5
    env: tuple[str, ...] = ()
    author: str = "VerMAS <vermas@localhost>"
    log_lines: int = 60


def options_of(options: object) -> Options:
    """The rig's options for this plugin; the defaults where it has none."""
    return options if isinstance(options, Options) else Options()
