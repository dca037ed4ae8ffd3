"""`vermas config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from vermas.cli.app import current_town, json_option
from vermas.cli.output import emit, one_line
from vermas.config import load
from vermas.configfile import display


@click.group()
def config() -> None:
    """The configuration: vermas.toml, and over it what was set by verbs."""


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Show every value in force."""
    data = load(current_town()).show()
    emit(data, as_json, "\n".join(_lines(data)))


@config.command()
@click.argument("key")
@json_option
def get(key: str, as_json: bool) -> None:
    """Print the value of a dotted KEY, such as rigs.api.check."""
    value = load(current_town()).get(key)
    lines = (
        _lines(value, f"{key}.")
        if isinstance(value, Mapping)
        else [one_line(value) if isinstance(value, str) else one_line(display(value))]
    )
    emit(value, as_json, "\n".join(lines))


@config.command("set")
@click.argument("key")
@click.argument("value")
@json_option
def set_(key: str, value: str, as_json: bool) -> None:
    """Set a dotted KEY to VALUE: TOML, or a bare word or sentence, which is a string. Nothing is written unless all of it is valid."""
    from vermas.configedit import set_value

    present = set_value(current_town(), key, value).get(key)
    emit({"key": key, "value": present}, as_json, f"{one_line(key)} = {one_line(display(present))}")


@config.command()
@click.argument("key")
@json_option
def unset(key: str, as_json: bool) -> None:
    """Forget what was set at KEY by a verb: the user's file and the defaults hold again."""
    from vermas.configedit import unset_value

    unset_value(current_town(), key)
    emit({"key": key, "unset": True}, as_json, f"{one_line(key)} is no longer set by a verb")


@config.command()
@click.argument("key")
@json_option
def explain(key: str, as_json: bool) -> None:
    """Say where the value of KEY comes from, and what it overrides."""
    sources = load(current_town()).explain(key)
    data = {"key": key, "value": sources[0].value, "sources": [{"value": one.value, "where": one.where} for one in sources]}
    lines = [f"{key} = {display(sources[0].value)}", f"  from {sources[0].where}"]
    lines += [f"  instead of {display(one.value)} from {one.where}" for one in sources[1:]]
    emit(data, as_json, "\n".join(one_line(line) for line in lines))


def _lines(value: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`rigs.api.check = "…"`, a line for each value."""
    found: list[str] = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            found += _lines(item, f"{prefix}{key}.")
        else:
            found.append(one_line(f"{prefix}{key} = {display(item)}"))
    return found
