"""From a town and a rig's name to a `Site`: configuration, plugins (those of live handles included), options, hooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vermas.calls import Hooks
from vermas.config import Config, rig_view
from vermas.lifecycle.site import Site, report_failures
from vermas.plugins import apply_overrides, load
from vermas.store import Store, polecats
from vermas.town import Town, refuse_moved


def open_site(town: Town, config: Config, rig: str, *, overrides: Sequence[str] = (), extra: Mapping[str, object] | None = None) -> Site:
    """A rig ready to work. `overrides` are the `-p` options of one run; `extra` plugins that are not installed, by name.

    :raises NotFound: there is no such rig.
    :raises ConfigError, PluginError, Conflict: one line that says what to mend; Conflict when the town was moved.
    """
    settings = config.rig(rig)
    store = Store(town.db)
    refuse_moved(town, store.read)
    names = apply_overrides(settings.plugins, overrides)
    plugins = load(names, extra=extra).with_drivers(polecats.live_drivers(store.read, rig), extra)
    view = rig_view(town, config, rig, plugins.options(settings.options), names)
    hooks = Hooks(view, plugins, report_failures(store, rig))
    return Site(town=town, store=store, rig=view, hooks=hooks, env_pass=settings.env_pass, max_attempts=settings.max_attempts)
