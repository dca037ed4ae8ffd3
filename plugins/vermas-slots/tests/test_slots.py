from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import pytest
import vermas_slots
from vermas_slots import Options

from vermas.testing.allocate_contract import AllocateContract
from vermas.types import Pending, Rig


class TestSlots(AllocateContract):
    plugin = vermas_slots
    first_names = ("slot0", "slot1", "slot2", "slot3", "slot4")


class TestSlotsWithCount(AllocateContract):
    plugin = vermas_slots
    options: ClassVar[dict[str, Any]] = {"slots": Options(count=12)}
    capacity = 12
    first_names = tuple(f"slot{number}" for number in range(12))


class TestSlotsOfABigRig(AllocateContract):
    plugin = vermas_slots
    capacity = 150
    first_names = ("slot0", "slot1", "slot2")

    def rig(self, directory: Path) -> Rig:
        return dataclasses.replace(super().rig(directory), max_polecats=150)

    def test_natural_order(self) -> None:
        """slot10 comes after slot9, not after slot1."""
        assert self.slot([f"slot{number}" for number in range(10)]) == "slot10"
        assert self.slot(["slot10", "slot2"]) == "slot0"

    def test_lowered_limit_counts_polecats_not_numbers(self) -> None:
        self._rig = dataclasses.replace(self._rig, max_polecats=2)
        assert self.slot(["slot7"]) == "slot0"
        answer = self.ask(["slot7", "slot8"])
        assert isinstance(answer, Pending)
        assert answer.why == "all 2 slots of web are taken"


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="count must not be negative"):
        Options(count=-1)
