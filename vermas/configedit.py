"""Changing `.vermas/config.toml`: one writer at a time, and only to what is valid as a whole."""

from __future__ import annotations

import copy
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vermas.config import Config, build, load
from vermas.configfile import ConfigFile, KeyPath, parse_key, parse_value
from vermas.configschema import check_key
from vermas.errors import ConfigError, VermasError
from vermas.town import Town, write_text

_HEADER = "# Written by vermas: `vermas config set`, `vermas rig add`.\n"


@contextmanager
def editing(town: Town) -> Iterator[dict[str, Any]]:
    """The parsed file as plain data to change, under a lock; what `save` was not called for is forgotten."""
    descriptor = os.open(os.path.join(town.locks, "config.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield copy.deepcopy(dict(ConfigFile.read(town.set_file).data))
    finally:
        os.close(descriptor)


def propose(town: Town, draft: Mapping[str, Any]) -> Config:
    """What the configuration would be with `draft` as the file, or the ConfigError that speaks against it."""
    proposed = ConfigFile(town.set_file, "", draft)  # without text its errors name no line, for there is none yet
    try:
        return build(town, (proposed, ConfigFile.read(town.config_file)))
    except ConfigError as error:
        raise ConfigError(f"nothing was written: {error}") from error


def save(town: Town, draft: Mapping[str, Any]) -> Config:
    """Write the file if the configuration is valid with it. Only inside `editing`."""
    import tomli_w

    propose(town, draft)
    try:
        write_text(town.set_file, _HEADER + tomli_w.dumps(draft))
    except OSError as error:
        raise VermasError(f"nothing was written: {town.set_file}: {error.strerror}") from error
    return load(town)


def set_value(town: Town, key: str, text: str) -> Config:
    """Set a dotted key to a TOML value; a bare word is a string."""
    path = parse_key(key)
    value = parse_value(text)
    with editing(town) as draft:
        check_key(path, load(town).rigs)
        table = draft
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{key}: {part!r} is not a table")
        table[path[-1]] = value
        return save(town, draft)


def unset_value(town: Town, key: str) -> Config:
    """Forget what verbs set at a dotted key; the user's file and the defaults say what it is then."""
    path = parse_key(key)
    with editing(town) as draft:
        config = load(town)
        check_key(path, config.rigs)
        try:
            _remove(draft, path)
        except KeyError:
            raise ConfigError(f"{key} is not set in {town.set_file}") from None
        return save(town, draft)


def _remove(table: dict[str, Any], path: KeyPath) -> None:
    """Delete a key and the tables that it leaves empty."""
    head, rest = path[0], path[1:]
    if rest:
        _remove(table[head], rest)
        if table[head]:
            return
    del table[head]
