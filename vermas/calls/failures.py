"""What goes wrong in a plugin, with everything needed to say whose fault it is."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vermas.errors import PluginError

if TYPE_CHECKING:
    from pluggy import HookImpl

FailureKind = Literal["raised", "deadline", "busy", "invalid", "missing"]

_LINE = 300
_TRACEBACK = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed hook call: the data of an event.

    `kind`: it `raised`; missed its `deadline` (its effect is unknown); was not asked because an earlier call for the same subject still
    hangs (`busy`); gave an `invalid` answer; or there is nobody to ask (`missing`).
    `subject` is the id of the bead, polecat, session or candidate.
    """

    plugin: str
    distribution: str
    version: str
    hook: str
    subject: str
    kind: FailureKind
    error: str
    duration_s: float = 0.0
    traceback: str = ""
    fix: str = ""

    def __str__(self) -> str:
        source = f" ({self.distribution} {self.version})" if self.distribution else ""
        subject = f" for {self.subject}" if self.subject else ""
        fix = f"; {self.fix}" if self.fix else ""
        return f"plugin {self.plugin!r}{source}: {self.hook}{subject} {self.error}{fix}"


class PluginFailure(PluginError):
    """A hook call failed; `failure` says which and how. What the plugin raised is the `__cause__`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class PluginTimeout(PluginFailure):
    """A hook call did not return in time; it may still do what it was asked."""


class PluginBusy(PluginFailure):
    """Not called: an earlier call that missed its deadline has not returned yet."""


def one_line(error: BaseException) -> str:
    """`Type: message`, on one line, of bounded length, whatever the exception is."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a stranger's __str__
        message = "(its message cannot be printed)"
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return text if len(text) <= _LINE else text[: _LINE - 1] + "…"


def trace(error: BaseException) -> str:
    """The end of the traceback."""
    return "".join(traceback.format_exception(error))[-_TRACEBACK:]


def culprit(error: BaseException, impls: Iterable[HookImpl]) -> str:
    """The name of the plugin whose function the exception came out of, innermost first (a wrapper may be to blame);
    "" when none is in it."""
    owners = {getattr(inspect.unwrap(impl.function), "__code__", None): impl.plugin_name for impl in impls}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((owners[frame.f_code] for frame in reversed(frames) if frame.f_code in owners), "")
