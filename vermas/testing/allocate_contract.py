"""What every allocator must do: subclass `AllocateContract`, name the plugin, and pytest runs the cases.

class TestMine(AllocateContract):
    plugin = my_plugin
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pluggy
import pytest

from vermas import hookspecs
from vermas.types import Bead, Pending, Rig, Slot, from_json, to_json

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")

#: Names that an allocator may meet in `taken`: of other plugins, of other versions, of nobody.
HOSTILE = (
    "slot00",
    "SLOT0",
    "slot-1",
    "slot²",
    "slot١",  # noqa: RUF001 (a digit that is not 0 to 9)
    "slot 0",
    "slot0\n",
    "../slot0",
    "",
    "-",
    "a" * 300,
    "\x1b[2J",
    "slot99999999999999999999",
)


class AllocateContract:
    """Cases for `vermas_allocate`.

    `plugin` is the module (or object) with the hook; `options` what `rig.options` holds; `capacity` the number of slots of the rig that
    `rig()` makes; `first_names` the names an empty pool gives, in order, when the plugin promises an order.
    """

    plugin: Any
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    capacity: ClassVar[int] = 5
    first_names: ClassVar[tuple[str, ...]] = ()

    def rig(self, directory: Path) -> Rig:
        """The rig of the cases; `directory` is empty."""
        return Rig(
            name="web",
            town_id="abcd1234",
            town=str(directory),
            path=str(directory / "web"),
            yard=str(directory / "web/yard.git"),
            vault=str(directory / "web/repo.git"),
            run_dir=str(directory / "run"),
            origin="/nowhere",
            target="main",
            prefix="web",
            check="none",
            agent="script",
            max_polecats=5,
            plugins=("mine",),
            options=self.options,
        )

    @pytest.fixture(autouse=True)
    def _set_up(self, tmp_path: Path) -> None:
        self._rig = self.rig(tmp_path)
        self._manager = pluggy.PluginManager("vermas")
        self._manager.add_hookspecs(hookspecs)
        self._manager.register(self.plugin)
        self._manager.check_pending()

    def ask(self, taken: Sequence[str] = (), *, bead: str = "web-1", now: float = 1_700_000_000.0) -> Slot | Pending | None:
        """One call of the hook, as the core makes it."""
        answer = self._manager.hook.vermas_allocate(
            rig=self._rig, bead=Bead(id=bead, rig="web", title="a bead"), taken=tuple(taken), now=now
        )
        assert answer is None or isinstance(answer, (Slot, Pending)), f"not a Slot, Pending or None: {answer!r}"
        return answer

    def slot(self, taken: Sequence[str] = (), **kwargs: Any) -> str:
        """The name of the slot that the plugin gives; fails when it gives none."""
        answer = self.ask(taken, **kwargs)
        assert isinstance(answer, Slot), f"expected a slot with {len(taken)} of {self.capacity} taken, got {answer!r}"
        return answer.name

    def fill(self) -> list[str]:
        """All names of the pool in the order in which they are given."""
        names: list[str] = []
        while len(names) < self.capacity:
            names.append(self.slot(names))
        return names

    def test_gives_a_slot_with_a_valid_name(self) -> None:
        assert NAME.fullmatch(self.slot())

    def test_all_names_are_valid_and_distinct(self) -> None:
        names = self.fill()
        assert all(NAME.fullmatch(name) for name in names)
        assert len(set(names)) == self.capacity

    def test_full_pool_is_pending(self) -> None:
        answer = self.ask(self.fill())
        assert isinstance(answer, Pending)
        assert answer.why
        assert answer.retry_after_s > 0

    def test_overfull_pool_is_pending(self) -> None:
        assert isinstance(self.ask([*self.fill(), "extra-1", "extra-2"]), Pending)

    def test_a_freed_name_is_given_again(self) -> None:
        names = self.fill()
        for freed in names:
            assert self.slot([name for name in names if name != freed]) == freed

    def test_order(self) -> None:
        names = self.fill()
        assert names == self.fill()
        assert tuple(names[: len(self.first_names)]) == self.first_names

    def test_pure(self) -> None:
        taken = self.fill()[:2]
        assert len({self.slot(taken) for _ in range(20)}) == 1

    def test_order_and_repetition_of_taken_do_not_matter(self) -> None:
        taken = self.fill()[: min(3, self.capacity - 1)]
        assert self.slot(taken) == self.slot([*reversed(taken), *taken])

    def test_a_name_not_chosen_is_not_remembered(self) -> None:
        """The core may lose the race for the answer, or drop it: only `taken` says what is taken."""
        first = self.slot()
        self.slot([first])
        assert self.slot() == first

    @pytest.mark.parametrize("name", HOSTILE, ids=ascii)
    def test_foreign_names_in_taken(self, name: str) -> None:
        answer = self.slot([name])
        assert NAME.fullmatch(answer)
        assert answer != name

    def test_foreign_names_with_own_names(self) -> None:
        own = self.slot()
        assert self.slot([own, HOSTILE[0], HOSTILE[1]]) not in (own, HOSTILE[0], HOSTILE[1])

    def test_json_round_trip(self) -> None:
        slot, full = self.ask(), self.ask(self.fill())
        assert isinstance(slot, Slot)
        assert isinstance(full, Pending)
        assert from_json(Slot, to_json(slot)) == slot
        assert from_json(Pending, to_json(full)) == full

    def test_many_threads_agree(self) -> None:
        taken = self.fill()[:1]
        expected = self.slot(taken)
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(lambda _: self.slot(taken), range(200))) == {expected}

    def test_races_are_won_once(self) -> None:
        """Claims by a unique index, as the store does it: whoever loses asks again, and all slots are given in the end."""
        claimed: list[str] = []
        index = threading.Lock()

        def claim(number: int) -> str | None:
            for _ in range(100):
                answer = self.ask(list(claimed), bead=f"web-{number}")
                if not isinstance(answer, Slot):
                    return None
                with index:
                    if answer.name not in claimed:
                        claimed.append(answer.name)
                        return answer.name
            return "never a free one"

        with ThreadPoolExecutor(16) as pool:
            won = [name for name in pool.map(claim, range(3 * self.capacity)) if name]
        assert sorted(won) == sorted(claimed)
        assert len(set(won)) == self.capacity

    def test_no_effects(self, tmp_path: Path) -> None:
        environment, threads = dict(os.environ), threading.active_count()
        self.ask(self.fill())
        assert list(tmp_path.rglob("*")) == []
        assert dict(os.environ) == environment
        assert threading.active_count() == threads
