"""The plugin as VerMAS loads it."""

from __future__ import annotations

import dataclasses
from typing import Any

from vermas.testing.check_plugin import check_plugin


def test_it_is_a_sound_plugin() -> None:
    check_plugin("refinery")


def test_the_doctor_asks_for_a_check(works: Any) -> None:
    assert works.hooks.vermas_doctor(rig=works.rig)[0][0].status == "ok"
    without = dataclasses.replace(works.rig, check="")
    check = works.hooks.vermas_doctor(rig=without)[0][0]
    assert (check.status, "config set" in check.hint) == ("warning", True)
