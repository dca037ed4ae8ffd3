"""Entry points → one `pluggy.PluginManager` per rig, holding exactly the plugins that the rig names. Installed is not active: nothing is
imported before a rig names it.

What is installed (`catalog`) is read at every start of the command line, so pluggy and the rest come in only when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vermas.plugins.installed import Catalog, Installed, catalog
from vermas.plugins.kinds import KINDS, hooks

if TYPE_CHECKING:
    from vermas.plugins.manager import Plugin, RigPlugins, apply_overrides, import_entry_point, load

__all__ = ["KINDS", "Catalog", "Installed", "Plugin", "RigPlugins", "apply_overrides", "catalog", "hooks", "import_entry_point", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vermas.plugins import manager

    return getattr(manager, name)
