"""What looking at a repository answers: imported by those who look, for `dataclasses` costs more than a git."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The tree of a merge; `conflicts` names the files that could not be merged (then `tree` holds conflict markers)."""

    tree: str
    conflicts: tuple[str, ...] = ()
