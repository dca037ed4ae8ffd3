"""From the raw table `[rigs.R.options.NAME]` to the plugin's `Options` dataclass: filled, checked, and wrong with a name."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vermas.errors import ConfigError

_PLAIN: dict[Any, str] = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


class _Wrong(Exception):
    """`key` (dotted) is wrong because `why`."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(key, why)
        self.key = key
        self.why = why


def fill(options: type, raw: Mapping[str, Any], plugin: str) -> Any:
    """The `Options` of `plugin` from its table in the configuration.

    :raises ConfigError: an unknown, missing or ill-typed option, or one that the dataclass itself refuses (ValueError); it
        names plugin and key.
    """
    if not (dataclasses.is_dataclass(options) and isinstance(options, type)):
        raise ConfigError(f"plugin {plugin!r}: its Options is not a dataclass")
    if not isinstance(raw, Mapping):
        raise ConfigError(f"plugin {plugin!r}: its options must be a table, not {_shown(raw)}")
    try:
        return _dataclass(options, raw, "")
    except _Wrong as wrong:
        raise ConfigError(f"plugin {plugin!r}: option {wrong.key!r} {wrong.why}") from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"plugin {plugin!r}: its options are refused: {error}") from error


def check(options: object) -> list[str]:
    """What is wrong with a plugin's `Options` itself, a sentence each."""
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        return ["Options is not a dataclass"]
    try:
        hints = typing.get_type_hints(options)
    except (NameError, TypeError, AttributeError) as error:
        return [f"the annotations of Options cannot be resolved: {error}"]
    found = [
        f"option {field.name!r} has the type {_name(hints[field.name])}, which TOML cannot fill"
        for field in dataclasses.fields(options)
        if field.init and not _known(hints[field.name])
    ]
    if not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        found.append("Options is not frozen: it is shared between threads, write @dataclass(frozen=True)")
    return found


def _dataclass(cls: type, raw: Mapping[str, Any], prefix: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in raw.items():
        name = key if key in fields else str(key).replace("-", "_")
        if name not in fields:
            raise _Wrong(prefix + str(key), _unknown(str(key), fields))
        values[name] = _value(hints[name], value, prefix + name)
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _Wrong(prefix + name, f"is required: {_name(hints[name])}")
    return cls(**values)


def _unknown(key: str, fields: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, fields, n=1)
    if near:
        return f"does not exist; did you mean {near[0]!r}?"
    return f"does not exist; there is: {', '.join(fields)}" if fields else "does not exist; this plugin has no options"


def _value(hint: Any, value: Any, key: str) -> Any:
    if hint is Any:
        return value
    if hint in _PLAIN or hint is Path:
        return _plain(hint, value, key)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint, _expect(value, Mapping, "a table", key), f"{key}.")
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in inner and type(value) in {type(item) for item in inner}:
            return value
        raise _Wrong(key, f"must be one of {', '.join(map(repr, inner))}, not {_shown(value)}")
    if origin in (types.UnionType, typing.Union):
        return _union(inner, value, key)
    if _sequence(origin):
        items = _expect(value, (list, tuple), "a list", key)
        kinds = inner if origin is tuple and inner[-1:] != (...,) else (inner[0],) * len(items)
        if len(kinds) != len(items):
            raise _Wrong(key, f"must have {len(kinds)} items, not {len(items)}")
        made = [_value(kind, item, f"{key}[{index}]") for index, (kind, item) in enumerate(zip(kinds, items, strict=True))]
        return made if origin is list else tuple(made)
    if _mapping(origin):
        table = _expect(value, Mapping, "a table", key)
        return {name: _value(inner[1], item, f"{key}.{name}") for name, item in table.items()}
    raise _Wrong(key, f"has a type that cannot be filled: {_name(hint)}")


def _plain(hint: Any, value: Any, key: str) -> Any:
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise _Wrong(key, f"must be {_name(hint)}, not {_shown(value)}")
    return value


def _union(kinds: tuple[Any, ...], value: Any, key: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    chosen = [kind for kind in kinds if kind is not type(None)]
    wrong = None
    for kind in chosen:
        try:
            return _value(kind, value, key)
        except _Wrong as error:
            wrong = error
    if wrong is not None and len(chosen) == 1:
        raise wrong
    raise _Wrong(key, f"must be {' or '.join(_name(kind) for kind in chosen)}, not {_shown(value)}")


def _expect(value: Any, kind: Any, name: str, key: str) -> Any:
    if not isinstance(value, kind):
        raise _Wrong(key, f"must be {name}, not {_shown(value)}")
    return value


def _known(hint: Any) -> bool:
    if hint in _PLAIN or hint in (Path, Any) or (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return True
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return True
    containers = _sequence(origin) or _mapping(origin) or origin in (types.UnionType, typing.Union)
    return containers and all(part in (type(None), ...) or _known(part) for part in inner)


def _sequence(origin: Any) -> bool:
    return origin in (tuple, list) or origin is Sequence


def _mapping(origin: Any) -> bool:
    return origin is dict or origin is Mapping


def _name(hint: Any) -> str:
    if hint is Path:
        return "a path"
    return _PLAIN[hint] if hint in _PLAIN else str(hint).removeprefix("typing.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
