"""Events: the short way of writing their data says the same as `json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from vermas.store import Store, events

TEXT = 'quoted "x", back\\slash, line\n, tab\t, \x00\x1b\x7f, ünïcode \u2028 𝄞 '


@pytest.mark.parametrize(
    "data", [{}, {"message": TEXT, TEXT: "", "submission": -7}, {"list": [1], "none": None, "flag": True, "float": 0.5}]
)
def test_data_is_the_same_with_and_without_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any]) -> None:
    store = Store.create(tmp_path / "town.db", "abcdefgh")
    for without in (False, True):
        with monkeypatch.context() as patch:
            if without:
                patch.delitem(sys.modules, "json")
            with store.write() as db:
                events.append(db, rig="web", kind="submitted", **data)
    first, second = store.read.execute("SELECT data FROM events ORDER BY seq").fetchall()
    assert first[0] == second[0]
    assert json.loads(second[0]) == data
    store.close()
