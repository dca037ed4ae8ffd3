"""Find an installed plugin by its name and call its hooks as pluggy would, without the rest of VerMAS."""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

import pluggy

from vermas import hookspecs


@functools.cache
def module_of(name: str) -> ModuleType:
    """The module behind the entry point `name` of group `vermas`. Raises LookupError with the names that exist."""
    found = [point for point in entry_points(group="vermas") if point.name == name]
    if not found:
        known = ", ".join(sorted({point.name for point in entry_points(group="vermas")})) or "nothing"
        raise LookupError(f"no plugin {name!r} is installed in group 'vermas'; there is: {known}")
    module: ModuleType = found[0].load()
    return module


@functools.cache
def hooks_of(name: str) -> pluggy.HookRelay:
    """The hooks of the plugin `name` alone. Call them with keywords; misnamed implementations are refused."""
    manager = pluggy.PluginManager("vermas")
    manager.add_hookspecs(hookspecs)
    manager.register(module_of(name), name)
    manager.check_pending()
    return manager.hook


def default_options(name: str) -> dict[str, Any]:
    """What `rig.options` holds for a rig that sets no option of the plugin `name`."""
    options = getattr(module_of(name), "Options", None)
    return {} if options is None else {name: options()}
