from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vermas.town import Town

Vermas = Callable[..., Any]


@pytest.fixture(autouse=True)
def two_rigs(town: Town) -> None:
    text = '[town]\nname = "hq"\n[rigs.api]\norigin = "/a"\n[rigs.web]\norigin = "/w"\nagent = "script"\nplugins = ["slots", "script"]\n'
    Path(town.config_file).write_text(text)


def test_set_get_explain_unset(vermas: Vermas, town: Town) -> None:
    assert vermas("config", "set", "rigs.api.check", "pytest -q").out == 'rigs.api.check = "pytest -q"\n'
    assert vermas("config", "get", "rigs.api.check").out == "pytest -q\n"
    assert vermas("config", "explain", "rigs.api.check").out == (
        f'rigs.api.check = "pytest -q"\n  from {town.set_file}:3\n  instead of "" from built in\n'
    )
    vermas("config", "unset", "rigs.api.check")
    assert vermas("config", "get", "rigs.api.check", "--json").json == ""


def test_set_takes_toml(vermas: Vermas) -> None:
    vermas("config", "set", "rigs.web.options.script.command", '["./agent.sh", "-v"]')
    assert vermas("config", "get", "rigs.web.options.script.command", "--json").json == ["./agent.sh", "-v"]
    assert vermas("config", "get", "rigs.web.options").out == 'rigs.web.options.script.command = ["./agent.sh", "-v"]\n'


def test_negative_numbers_and_dashes_are_values(vermas: Vermas) -> None:
    assert "must be 1 to 1000" in vermas("config", "set", "rigs.api.max_polecats", "--", "-1", expect=3).err


def test_show(vermas: Vermas) -> None:
    lines = vermas("config", "show").out.splitlines()
    assert 'rigs.web.plugins = ["slots", "script"]' in lines
    assert "rigs.api.max_polecats = 5" in lines
    assert vermas("config", "show", "--json").json["rigs"]["web"]["agent"] == "script"


def test_explain_as_json(vermas: Vermas, town: Town) -> None:
    data = vermas("config", "explain", "rigs.web.agent", "--json").json
    assert data["value"] == "script"
    assert data["sources"] == [{"value": "script", "where": f"{town.config_file}:7"}, {"value": "claude", "where": "built in"}]


def test_wrong_keys(vermas: Vermas) -> None:
    assert "did you mean 'check'" in vermas("config", "get", "rigs.api.chek", expect=3).err
    assert "did you mean 'web'" in vermas("config", "set", "rigs.wob.check", "x", expect=4).err


def test_a_broken_file_is_one_line(vermas: Vermas, town: Town) -> None:
    Path(town.config_file).write_text("[rigs.api]\norigin = \n")
    for words in (["config", "show"], ["rig", "list"], ["config", "set", "town.name", "x"]):
        done = vermas(*words, expect=3)
        assert done.err.startswith(f"vermas: {town.config_file}:2:")
        assert done.err.count("\n") == 1


def test_values_cannot_steer_a_terminal(vermas: Vermas, town: Town) -> None:
    Path(town.config_file).write_text('[rigs.api]\norigin = "/a"\ncheck = "\\u001B[2J\\u202E"\n')
    for words in (["config", "show"], ["config", "get", "rigs.api.check"], ["config", "explain", "rigs.api.check"], ["rig", "list"]):
        assert "\x1b" not in vermas(*words).out
