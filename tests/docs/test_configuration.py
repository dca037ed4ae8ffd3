"""docs/configuration.md lists every key and every option of the shipped plugins, with the defaults that the code has."""

from __future__ import annotations

import dataclasses
import re
import shutil
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from vermas.cli.verbs import ENVIRONMENT
from vermas.config import build
from vermas.configfile import ConfigFile, display
from vermas.configschema import RIG, TOWN
from vermas.plugins.options import fill
from vermas.town import Town

PAGE = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
SHIPPED = ("slots", "worktree", "clone", "tmux", "process", "script", "claude", "watchdog", "refinery")


def section(heading: str) -> str:
    return re.split(r"^##+ ", PAGE.partition(f"{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def table(heading: str) -> dict[str, str]:
    """The first two columns of a section's table."""
    return dict(re.findall(r"^\| `(\w+)` \| `?(.+?)`? \|", section(heading), re.MULTILINE))


def test_every_key_is_listed() -> None:
    assert set(table("## `[town]`")) == set(TOWN)
    assert set(table("## `[defaults]` and `[rigs.NAME]`")) == set(RIG)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="the default plugins are others without tmux")
def test_the_defaults_of_keys_are_those_of_the_code(tmp_path: Path) -> None:
    defaults = build(Town(str(tmp_path)), ()).show()["defaults"]
    listed = table("## `[defaults]` and `[rigs.NAME]`")
    assert {key: display(value) for key, value in defaults.items() if key != "options"} == {
        key: text for key, text in listed.items() if key not in ("origin", "prefix", "options")
    }


@pytest.mark.parametrize("plugin", SHIPPED)
def test_every_option_is_listed_with_its_default(plugin: str) -> None:
    (entry,) = entry_points(group="vermas", name=plugin)
    options = getattr(entry.load(), "Options", None)
    if options is None:
        assert plugin in re.findall(r"`(\w+)`", "".join(re.findall(r"^### (.+)\n\nNo options", PAGE, re.MULTILINE)))
        return
    filled = fill(options, {}, plugin)
    defaults = {field.name: display(getattr(filled, field.name)) for field in dataclasses.fields(options)}
    assert table(f"### `{plugin}`") == defaults


def test_the_example_is_valid(tmp_path: Path) -> None:
    example = re.search(r"^```toml vermas.toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert example
    config = build(Town(str(tmp_path)), (ConfigFile.parse("vermas.toml", example[1]),))
    assert config.rigs["web"].options["script"] == {"command": ["./agent.sh"]}
    assert config.rigs["api"].max_polecats == 3
    assert config.rigs["api"].options["watchdog"] == {"restarts_per_window": 3}


def test_every_environment_variable_is_listed() -> None:
    names = {name for names in ENVIRONMENT for name in names.split(", ")}
    assert names <= set(re.findall(r"`(\w+)`", section("## Environment")))
