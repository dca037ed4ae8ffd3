"""The only caller of plugin hooks: typed, isolated, timed, attributed.

Every implementation is asked on its own (wrappers around it), on a daemon thread, with a deadline; its answer is checked against the hook's
annotation; whatever goes wrong names plugin, distribution, version, hook, subject and duration.
"""

from vermas.calls.deadlines import DEADLINES_S
from vermas.calls.failures import Failure, PluginBusy, PluginFailure, PluginTimeout
from vermas.calls.hooks import Hooks
from vermas.calls.threads import Threads

__all__ = ["DEADLINES_S", "Failure", "Hooks", "PluginBusy", "PluginFailure", "PluginTimeout", "Threads"]
