"""Is an answer what its hook promises? The annotations of `vermas.hookspecs` and `vermas.types` are the schema;
what they cannot say stands below."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from vermas import hookspecs
from vermas import types as values
from vermas.types import Candidate, Landing, Observation, Output, Polecat, Sandbox, Session, Slot

#: Answers "" when the value fits, else what is wrong with it; its second argument says where it stands.
Check = Callable[[Any, str], str]

_SLOT = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_LOCATOR_BYTES = 4096


@functools.cache
def promised(hook: str) -> Check:
    """The check of a hook's answers, from its return annotation."""
    names = {**vars(hookspecs), **vars(values)}
    hint = typing.get_type_hints(getattr(hookspecs, hook), names)["return"]
    return _fits_anything if hint is type(None) else _check(hint)


def slot(answer: Slot, taken: Collection[str]) -> str:
    if not _SLOT.fullmatch(answer.name):
        return f"Slot.name {answer.name!r} does not match {_SLOT.pattern}"
    return f"Slot.name {answer.name!r} is taken" if answer.name in taken else ""


def sandbox(answer: Sandbox, plugin: str, polecat: Polecat) -> str:
    if answer.driver != plugin:
        return f"Sandbox.driver is {answer.driver!r}, not {plugin!r}"
    if answer.branch != polecat.branch:
        return f"Sandbox.branch is {answer.branch!r}, not {polecat.branch!r}"
    return "" if answer.path.startswith("/") else f"Sandbox.path {answer.path!r} is not absolute"


def session(answer: Session, plugin: str) -> str:
    if answer.driver != plugin:
        return f"Session.driver is {answer.driver!r}, not {plugin!r}"
    expected = f"{answer.polecat_id}-{answer.session_no}"
    if answer.id != expected:
        return f"Session.id is {answer.id!r}, not {expected!r}"
    size = len(json.dumps(values.to_json(answer)))
    return "" if size <= _LOCATOR_BYTES else f"the Session is {size} bytes as JSON, more than {_LOCATOR_BYTES}"


def session_of(answer: Session, plugin: str, polecat: Polecat) -> str:
    if (answer.polecat_id, answer.session_no) != (polecat.id, polecat.session_no):
        return f"the Session is {answer.polecat_id}-{answer.session_no}, not {polecat.id}-{polecat.session_no}"
    return session(answer, plugin)


def observations(answer: Mapping[str, Observation]) -> str:
    """Both ways of ending at once is none: who knows what else is wrong there."""
    both = [name for name, seen in answer.items() if seen.exit_code is not None and seen.signal is not None]
    return f"the Observation of {both[0]!r} has an exit code and a signal" if both else ""


def output(answer: Output, limit_bytes: int) -> str:
    return "" if len(answer.data) <= limit_bytes else f"Output.data has {len(answer.data)} bytes, more than {limit_bytes}"


def commit(answer: str) -> str:
    return "" if _COMMIT.fullmatch(answer) else f"{_shown(answer)} is not a full commit name"


def candidate(answer: Candidate) -> str:
    if answer.kind == "merge":
        return commit(answer.commit) or commit(answer.tree) or commit(answer.base)
    return "Candidate is a conflict without files" if answer.kind == "conflict" and not answer.files else ""


def landing(answer: Landing) -> str:
    return commit(answer.sha) if answer.kind == "landed" else ""


def _fits_anything(value: Any, where: str) -> str:
    """What a hook without an answer answers does not matter."""
    return ""


@functools.cache
def _check(hint: Any) -> Check:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _fits_anything
    if origin is Literal:
        return _literal(inner)
    if origin in (types.UnionType, typing.Union):
        return _union(inner)
    if origin is tuple:
        return _items(tuple, _check(inner[0]))
    if origin in (list, Sequence):
        return _items((list, tuple), _check(inner[0]))
    if origin in (dict, Mapping):
        return _mapping(_check(inner[1]))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint)
    return _instance(hint)


def _instance(hint: Any) -> Check:
    allowed = (int, float) if hint is float else hint
    name = _name(hint)

    def check(value: Any, where: str) -> str:
        if isinstance(value, allowed) and (hint is bool or not isinstance(value, bool)):
            return ""
        return f"{where} is {_shown(value)}, not {name}"

    return check


def _literal(allowed: tuple[Any, ...]) -> Check:
    def check(value: Any, where: str) -> str:
        if isinstance(value, str) and value in allowed:
            return ""
        return f"{where} is {_shown(value)}, not one of {', '.join(allowed)}"

    return check


def _union(kinds: tuple[Any, ...]) -> Check:
    checks = [(kind, _check(kind)) for kind in kinds]

    def check(value: Any, where: str) -> str:
        wrong = ""
        for kind, fits in checks:
            said = fits(value, where)
            if not said:
                return ""
            if isinstance(kind, type) and isinstance(value, kind):
                wrong = said
        return wrong or f"{where} is {_shown(value)}, not {' or '.join(_name(kind) for kind in kinds)}"

    return check


def _items(kind: Any, item: Check) -> Check:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, kind):
            return f"{where} is {_shown(value)}, not a {'tuple' if kind is tuple else 'list'}"
        return next((wrong for index, part in enumerate(value) if (wrong := item(part, f"{where}[{index}]"))), "")

    return check


def _mapping(item: Check) -> Check:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, Mapping):
            return f"{where} is {_shown(value)}, not a mapping"
        for key, part in value.items():
            if not isinstance(key, str):
                return f"{where} has the key {_shown(key)}, not a string"
            if wrong := item(part, f"{where}[{key!r}]"):
                return wrong
        return ""

    return check


def _dataclass(cls: type) -> Check:
    hints = typing.get_type_hints(cls)
    fields = [(name, hints[name]) for name in hints]
    checks: list[tuple[str, Check]] = []

    def check(value: Any, where: str) -> str:
        if not isinstance(value, cls):
            return f"{where} is {_shown(value)}, not {cls.__name__}"
        if not checks:
            checks.extend((name, _check(hint)) for name, hint in fields)
        return next((wrong for name, fits in checks if (wrong := fits(getattr(value, name), f"{cls.__name__}.{name}"))), "")

    return check


def _name(hint: Any) -> str:
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint)


def _shown(value: Any) -> str:
    """A short `repr`, or the bare type where even that fails or would be long to make."""
    if isinstance(value, (str, bytes)) and len(value) > 60:
        return f"a {type(value).__name__} of {len(value)}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - a stranger's __repr__
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"a {type(value).__name__}"
