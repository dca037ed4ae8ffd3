"""Which keys the configuration has, of what type, and what is wrong with a file that says something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vermas.configfile import ConfigFile, KeyPath, display
from vermas.errors import ConfigError, NotFound
from vermas.names import nearest, wrong_branch, wrong_origin, wrong_plugin, wrong_prefix, wrong_rig, wrong_variable

#: For each key the type in words, and a test that answers what is wrong with a value of that type.
Keys = Mapping[str, tuple[str, Callable[[Any], str]]]


def _wrong_check(check: str) -> str:
    return "a check cannot contain NUL" if "\0" in check else ""


def _wrong_max(number: int) -> str:
    return "" if 1 <= number <= 1000 else "must be 1 to 1000"


def _wrong_town(name: str) -> str:
    return "" if name and name.isprintable() else "a town's name is printable and not empty"


def _each(test: Callable[[str], str]) -> Callable[[list[str]], str]:
    def wrong(items: list[str]) -> str:
        doubled = [f"{item!r} is listed twice" for number, item in enumerate(items) if item in items[:number]]
        return "; ".join([f"{item!r}: {message}" for item in items if (message := test(item))] + doubled)

    return wrong


def _anything(value: object) -> str:
    return ""


STRING, INTEGER, STRINGS, TABLES = "a string", "an integer", "an array of strings", "a table with one table per plugin"
TOWN: Keys = {"name": (STRING, _wrong_town)}
DEFAULTS: Keys = {
    "target": (STRING, wrong_branch),
    "check": (STRING, _wrong_check),
    "agent": (STRING, wrong_plugin),
    "plugins": (STRINGS, _each(wrong_plugin)),
    "max_polecats": (INTEGER, _wrong_max),
    "max_attempts": (INTEGER, _wrong_max),
    "env_pass": (STRINGS, _each(wrong_variable)),
    "options": (TABLES, _anything),
}
RIG: Keys = {"origin": (STRING, wrong_origin), "prefix": (STRING, wrong_prefix), **DEFAULTS}
TABLE_KEYS: Mapping[str, Keys] = {"town": TOWN, "defaults": DEFAULTS, "rigs": RIG}


def _has_type(value: object, expected: str) -> bool:
    if expected == STRING:
        return isinstance(value, str)
    if expected == INTEGER:
        return isinstance(value, int) and not isinstance(value, bool)
    if expected == STRINGS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, Mapping) and all(isinstance(item, Mapping) for item in value.values())


def check_file(file: ConfigFile) -> None:
    """Raise a ConfigError with file, line and key for the first thing in a file that cannot be."""
    for table, value in file.data.items():
        if table not in TABLE_KEYS:
            raise file.wrong((table,), f"unknown table [{table}]{nearest(table, list(TABLE_KEYS))}")
        if not isinstance(value, Mapping):
            raise file.wrong((table,), f"[{table}] must be a table, not {display(value)}")
        if table != "rigs":
            _check_table(file, (table,), value, TABLE_KEYS[table])
            continue
        for rig, keys in value.items():
            if message := wrong_rig(rig):
                raise file.wrong(("rigs", rig), f"rig {rig!r}: {message}")
            if not isinstance(keys, Mapping):
                raise file.wrong(("rigs", rig), f"[rigs.{rig}] must be a table, not {display(keys)}")
            _check_table(file, ("rigs", rig), keys, RIG)


def _check_table(file: ConfigFile, path: KeyPath, table: Mapping[str, Any], keys: Keys) -> None:
    name = ".".join(path)
    for key, value in table.items():
        if key not in keys:
            raise file.wrong((*path, key), f"unknown key {key!r} in [{name}]{nearest(key, list(keys))}")
        expected, test = keys[key]
        if not _has_type(value, expected):
            hint = (
                f"; for the text write it in quotes: {display(display(value))}"
                if expected == STRING and isinstance(value, (bool, int, float))
                else ""
            )
            raise file.wrong((*path, key), f"{name}.{key} must be {expected}, not {display(value)}{hint}")
        if message := test(value):
            raise file.wrong((*path, key), f"{name}.{key} = {display(value)}: {message}")


def check_key(path: KeyPath, rigs: Mapping[str, Any]) -> None:
    """Refuse a dotted key that no configuration can have, or that names a rig which does not exist."""
    table, rest = path[0], path[1:]
    if table not in TABLE_KEYS:
        raise ConfigError(f"unknown key {'.'.join(path)!r}{nearest(table, list(TABLE_KEYS))}")
    if table == "rigs" and rest:
        if rest[0] not in rigs:
            raise NotFound("rig", rest[0], rigs)
        rest = rest[1:]
    known = TABLE_KEYS[table]
    if rest and rest[0] not in known:
        raise ConfigError(f"unknown key {'.'.join(path)!r}{nearest(rest[0], list(known))}")
    if len(rest) > 1 and rest[0] != "options":
        raise ConfigError(f"{'.'.join(path[: 1 - len(rest)])} is {known[rest[0]][0]}: it has no keys of its own")
