"""Numbered slots for VerMAS polecats: `slot0`, `slot1`… and the lowest free one is next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vermas.hookspecs import hookimpl
from vermas.types import Bead, Pending, Rig, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`[rigs.R.options.slots]`. `count` is the number of slots; 0 stands for the rig's `max_polecats`."""

    count: int = 0

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count must not be negative, it is {self.count}")


@hookimpl
def vermas_allocate(rig: Rig, bead: Bead, taken: Sequence[str], now: float) -> Slot | Pending:
    """The lowest free number. Names that this plugin never gave (of a former one, say) use up the pool as well."""
    options: Options = rig.options.get("slots", Options())
    count = options.count or rig.max_polecats
    used = set(taken)
    if len(used) >= count:
        return Pending(why=f"all {count} slots of {rig.name} are taken")
    return Slot(name=next(name for name in (f"slot{number}" for number in range(count)) if name not in used))
