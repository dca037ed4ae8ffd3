"""Everything about a plugin that can be known to be wrong without running it."""

from __future__ import annotations

from vermas.errors import PluginError
from vermas.plugins import catalog, implementations, import_entry_point, options


def check_plugin(plugin: object | str) -> None:
    """Fail, listing every problem, when a plugin would be refused by VerMAS or silently never be called by pluggy.

    Found are: hooks without `@hookimpl`, misspelt hooks and arguments, keyword-only and variable parameters, `async def`, generators that
    are not wrappers, wrappers that do not yield, a hook implemented twice, a runtime or sandbox that makes what it cannot handle, and an
    `Options` that is not a frozen dataclass of types that TOML has. Of an installed plugin, given by the name of its entry point, also the
    entry point, its import, a clash of names, and the range of `vermas` that the distribution declares.

    :param plugin: the name of an installed plugin, or the module (or other object) with the hooks.
    :raises AssertionError: one line for each problem.
    """
    name = plugin if isinstance(plugin, str) else getattr(plugin, "__name__", repr(plugin))
    found = installed_problems(plugin) if isinstance(plugin, str) else object_problems(plugin)
    if found:
        raise AssertionError(f"plugin {name!r}:" + "".join(f"\n- {line}" for line in found))


def object_problems(plugin: object) -> list[str]:
    """The problems of a module or object with hook implementations, a sentence each."""
    found = implementations.problems(plugin)
    if not implementations.implemented(plugin) and not implementations.implemented(plugin, wrappers=True):
        found.append("it implements no hook")
    declared = getattr(plugin, "Options", None)
    return found + ([] if declared is None else options.check(declared))


def installed_problems(name: str) -> list[str]:
    """The problems of the installed plugin `name`, a sentence each."""
    installed = catalog()
    offers = installed.offers(name)
    if not offers:
        known = ", ".join(sorted({entry.name for entry in installed.plugins()})) or "nothing"
        return [f"no distribution has it in its entry-point group 'vermas'; installed are: {known}"]
    found = [f"{len(offers)} distributions offer this name: {', '.join(entry.source for entry in offers)}"] if len(offers) > 1 else []
    entry = offers[0]
    if not entry.requires:
        found.append(f"{entry.source} does not say which vermas it works with; add to its dependencies: 'vermas>=0.1,<0.2'")
    try:
        return found + object_problems(import_entry_point(entry))
    except PluginError as error:
        return [*found, str(error)]
