"""The result of one check, and how to mend what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vermas.types import Check


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`mend`, when there is one, repairs what the check found and answers what it did; it never deletes work."""

    check: Check
    mend: Callable[[], str] | None = None

    def mended(self) -> Check:
        """The check after mending."""
        done = self.mend() if self.mend else ""
        return Check(name=self.check.name, status="ok", message=f"mended: {done}")


def fine(name: str, message: str) -> Diagnosis:
    return Diagnosis(Check(name=name, status="ok", message=message))


def warning(name: str, message: str, hint: str, mend: Callable[[], str] | None = None) -> Diagnosis:
    return Diagnosis(Check(name=name, status="warning", message=message, hint=hint), mend)


def error(name: str, message: str, hint: str, mend: Callable[[], str] | None = None) -> Diagnosis:
    return Diagnosis(Check(name=name, status="error", message=message, hint=hint), mend)
