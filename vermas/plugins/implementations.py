"""What pluggy accepts silently and then never calls, or calls wrongly: found before a plugin is registered."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from vermas import hookspecs
from vermas.plugins.kinds import KINDS, NEEDS

_MARK = "vermas_impl"


def problems(plugin: object) -> list[str]:
    """What is wrong with the hook implementations of `plugin`, a sentence each; empty when all is well."""
    found: list[str] = []
    seen: dict[str, str] = {}
    for name, function in _routines(plugin):
        options = getattr(function, _MARK, None)
        if not isinstance(options, dict):
            found += _undecorated(name, function, plugin)
            continue
        hook = options.get("specname") or name
        if hook in seen:
            found.append(f"{name} and {seen[hook]} both implement {hook}; a plugin implements a hook once")
        seen[hook] = name
        found += _decorated(name, hook, function, wrapper=bool(options.get("wrapper") or options.get("hookwrapper")))
    return found + _missing_companions(implemented(plugin))


def implemented(plugin: object, *, wrappers: bool = False) -> dict[str, Callable[..., Any]]:
    """The hooks that `plugin` implements (by wrappers only, if so asked) and their functions."""
    found = {}
    for name, function in _routines(plugin):
        options = getattr(function, _MARK, None)
        if isinstance(options, dict) and bool(options.get("wrapper") or options.get("hookwrapper")) is wrappers:
            found[options.get("specname") or name] = function
    return found


def _routines(plugin: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in dir(plugin):
        value = inspect.getattr_static(plugin, name, None)
        if isinstance(value, property):
            continue
        value = getattr(plugin, name, None)
        if inspect.isroutine(value):
            yield name, value


def _undecorated(name: str, function: Callable[..., Any], plugin: object) -> list[str]:
    if name in KINDS:
        return [f"{name} is not decorated with @hookimpl, so it would never be called"]
    if not name.startswith("vermas_") or getattr(function, "__module__", "") != getattr(plugin, "__name__", ""):
        return []
    near = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.8)
    return [f"{name} is no hook and not decorated: did you mean {near[0]}?"] if near else []


def _decorated(name: str, hook: str, function: Callable[..., Any], *, wrapper: bool) -> list[str]:
    spec = getattr(hookspecs, hook, None) if hook in KINDS else None
    if spec is None:
        near = difflib.get_close_matches(hook, KINDS, n=1)
        return [f"{hook} is no hook of VerMAS" + (f": did you mean {near[0]}?" if near else "; see hookspecs.md")]
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return [f"{name} is async; hooks are plain functions (call asyncio.run inside)"]
    if inspect.isgeneratorfunction(function) is not wrapper:
        return [
            f"{name} is a wrapper without a yield" if wrapper else f"{name} is a generator; return the value, or use hookimpl(wrapper=True)"
        ]
    return _bad_parameters(name, hook, function, list(inspect.signature(spec).parameters))


def _bad_parameters(name: str, hook: str, function: Callable[..., Any], allowed: list[str]) -> list[str]:
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            shown = str(parameter).split(":")[0].split("=")[0].strip()
            found.append(f"{name} takes {shown} by keyword only or as a variable list, which never gets a value; make it a plain parameter")
        elif parameter.name not in allowed:
            near = difflib.get_close_matches(parameter.name, allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else f"{hook} has: {', '.join(allowed)}"
            found.append(f"{name} takes {parameter.name}, which {hook} does not have; {hint}")
    return found


def _missing_companions(hooks: dict[str, Callable[..., Any]]) -> list[str]:
    found = []
    for maker, needed in NEEDS.items():
        missing = [hook for hook in needed if hook not in hooks]
        if maker in hooks and missing:
            found.append(f"it implements {maker} but not {', '.join(missing)}, so nobody could handle what it makes")
    return found
