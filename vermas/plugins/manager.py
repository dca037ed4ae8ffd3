"""From the names in a rig's configuration to the pluggy managers that are asked."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pluggy

import vermas
from vermas import hookspecs
from vermas.errors import ConfigError, PluginError
from vermas.plugins import implementations, options
from vermas.plugins import installed as installations
from vermas.plugins.installed import Catalog, Installed
from vermas.plugins.kinds import SHIPPED_IN, SUGGESTED, hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A loaded plugin: `module` is the object that its entry point names, `options_type` its `Options` dataclass, if it has one."""

    name: str
    distribution: str
    version: str
    module: object
    options_type: type | None = None

    @property
    def source(self) -> str:
        return f"{self.distribution} {self.version}".strip()

    def __str__(self) -> str:
        return f"{self.name!r} ({self.source})" if self.distribution else f"{self.name!r}"


@dataclass(frozen=True, slots=True)
class RigPlugins:
    """The plugins of one rig, in the order in which it lists them.

    `former` holds the drivers of live handles that the rig no longer names: asked for driver hooks only. `unavailable` says of each such
    driver that cannot be loaded why not.
    """

    plugins: tuple[Plugin, ...]
    manager: pluggy.PluginManager
    catalog: Catalog
    former: RigPlugins | None = None
    unavailable: Mapping[str, PluginError] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(plugin.name for plugin in self.plugins)

    def get(self, name: str) -> Plugin | None:
        return next((plugin for plugin in self.plugins if plugin.name == name), None)

    def implementers(self, hook: str) -> tuple[Plugin, ...]:
        """The plugins that answer `hook`, in the order in which they are asked; wrappers are not among them."""
        caller = getattr(self.manager.hook, hook)
        asked = [impl.plugin_name for impl in reversed(caller.get_hookimpls()) if not (impl.wrapper or impl.hookwrapper)]
        return tuple(plugin for name in asked if (plugin := self.get(name)) is not None)

    def alone(self, hook: str, plugin: Plugin) -> pluggy.HookCaller:
        """A caller of `hook` that asks `plugin` only, inside all wrappers."""
        others = [other.module for other in self.implementers(hook) if other.name != plugin.name]
        return self.manager.subset_hook_caller(hook, others)

    def options(self, raw: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """`rig.options`: the validated `Options` of each plugin that has one, from the table `[rigs.R.options]`.

        :raises ConfigError: names the plugin and the option. Tables of plugins that are installed but not active are left alone.
        """
        self._check_tables(raw)
        filled = {}
        for plugin in self.plugins:
            table = raw.get(plugin.name, {})
            if plugin.options_type is not None:
                filled[plugin.name] = options.fill(plugin.options_type, table, plugin.name)
            elif table:
                raise ConfigError(f"plugin {plugin} has no options, but the rig sets {', '.join(map(repr, table))}")
        return filled

    def _check_tables(self, raw: Mapping[str, Any]) -> None:
        known = {*self.names, *(entry.name for entry in self.catalog.plugins())}
        for name in raw:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ConfigError(f"options are set for a plugin named {name!r}, which is not installed" + _did_you_mean(near))

    def with_drivers(self, names: Iterable[str], extra: Mapping[str, object] | None = None) -> RigPlugins:
        """These plugins, and for driver hooks also those among `names` that the rig does not name.
        Never raises for those: see `unavailable`."""
        loaded: list[Plugin] = []
        unavailable: dict[str, PluginError] = {}
        for name in dict.fromkeys(names):
            if name in self.names:
                continue
            try:
                loaded.append(_load_one(name, self.catalog, extra or {}))
            except PluginError as error:
                unavailable[name] = error
        former = RigPlugins(tuple(loaded), _manager(loaded), self.catalog) if loaded else None
        return RigPlugins(self.plugins, self.manager, self.catalog, former, unavailable)


def load(
    names: Sequence[str],
    *,
    catalog: Catalog | None = None,
    extra: Mapping[str, object] | None = None,
    complete: bool = True,
) -> RigPlugins:
    """Import and register exactly the named plugins.

    :param catalog: what is installed; read when not given.
    :param extra: plugins that are not installed, by name: modules or other objects with hook implementations.
    :param complete: insist on exactly one implementation of every exclusive hook.
    :raises PluginError: one line that names the plugin, its distribution and what to do.
    """
    installed = installations.catalog() if catalog is None else catalog
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise PluginError(f"plugin {twice!r} is listed twice; remove one of the two")
    loaded = [_load_one(name, installed, extra or {}) for name in names]
    rig_plugins = RigPlugins(tuple(loaded), _manager(loaded), installed)
    if complete:
        _check_exclusive(rig_plugins)
    return rig_plugins


def apply_overrides(names: Sequence[str], overrides: Sequence[str]) -> tuple[str, ...]:
    """The plugin list after `-p NAME` and `-p no:NAME`, in turn: `no:NAME` removes, `NAME` is asked before those that the rig lists."""
    added: list[str] = []
    kept = list(names)
    for override in overrides:
        name = override.removeprefix("no:")
        if name != override:
            added = [other for other in added if other != name]
            kept = [other for other in kept if other != name]
        elif name not in added and name not in kept:
            added.append(name)
    return (*added, *kept)


def import_entry_point(entry: Installed) -> Any:
    """The object that an entry point names.

    :raises PluginError: its distribution does not fit this vermas, or its import fails.
    """
    what = "plugin" if entry.group == installations.PLUGINS else "command"
    if not entry.compatible:
        raise PluginError(
            f"{what} {entry.name!r} of {entry.source} needs vermas{entry.requires}, this is {vermas.__version__}; "
            f"try: pip install --upgrade {entry.distribution}"
        )
    module, _, attribute = entry.module.partition(":")
    try:
        found: Any = importlib.import_module(module.strip())
        for part in filter(None, attribute.strip().split(".")):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise PluginError(f"{what} {entry.name!r} of {entry.source} cannot be imported ({entry.module}): {line}") from error
    return found


def _load_one(name: str, installed: Catalog, extra: Mapping[str, object]) -> Plugin:
    if name in extra:
        return _checked(Plugin(name=name, distribution="", version="", module=extra[name]))
    offers = installed.offers(name)
    if not offers:
        raise PluginError(_missing(name, installed))
    if len(offers) > 1:
        sources = " and ".join(entry.source for entry in offers)
        raise PluginError(
            f"plugin {name!r} is offered by {len(offers)} distributions: {sources}; uninstall one: pip uninstall {offers[-1].distribution}"
        )
    entry = offers[0]
    module = import_entry_point(entry)
    return _checked(Plugin(name=name, distribution=entry.distribution, version=entry.version, module=module))


def _checked(plugin: Plugin) -> Plugin:
    wrong = implementations.problems(plugin.module)
    declared = getattr(plugin.module, "Options", None)
    if declared is not None:
        wrong += options.check(declared)
    if wrong:
        more = f" (and {len(wrong) - 1} more: run vermas.testing.check_plugin)" if len(wrong) > 1 else ""
        raise PluginError(f"plugin {plugin} is broken: {wrong[0]}{more}")
    return Plugin(name=plugin.name, distribution=plugin.distribution, version=plugin.version, module=plugin.module, options_type=declared)


def _manager(plugins: Sequence[Plugin]) -> pluggy.PluginManager:
    """Registered in reverse: pluggy asks the last registered first, a rig's list is read from the front."""
    manager = pluggy.PluginManager("vermas")
    manager.add_hookspecs(hookspecs)
    for plugin in reversed(plugins):
        try:
            manager.register(plugin.module, name=plugin.name)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {plugin} cannot be registered: {str(error).splitlines()[-1]}") from error
    return manager


def _missing(name: str, installed: Catalog) -> str:
    known = sorted({entry.name for entry in installed.plugins()})
    near = difflib.get_close_matches(name, known, n=1)
    there = "" if near else f"; installed: {', '.join(known) or 'none'}"
    return f"no plugin named {name!r}{_did_you_mean(near)}{there}; try: pip install {SHIPPED_IN.get(name, f'vermas-{name}')}"


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean {near[0]!r}?" if near else ""


def _check_exclusive(rig_plugins: RigPlugins) -> None:
    for hook in hooks("exclusive"):
        makers = rig_plugins.implementers(hook)
        if not makers:
            listed = ", ".join(rig_plugins.names) or "no plugins"
            raise PluginError(
                f"no plugin implements {hook}, exactly one must (the rig lists {listed}); add {SUGGESTED[hook]} to its plugins"
            )
        if len(makers) > 1:
            raise PluginError(
                f"plugins {' and '.join(map(str, makers))} both implement {hook}, exactly one may; "
                f"remove one from the rig's plugins, or for one run: -p no:{makers[-1].name}"
            )
