"""One implementation, one call: on its own thread, with a deadline, attributed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vermas.calls.answers import promised
from vermas.calls.deadlines import DEADLINES_S, HELD_BACK_FOR_ALL
from vermas.calls.failures import Failure, FailureKind, PluginBusy, PluginFailure, PluginTimeout, culprit, one_line, trace
from vermas.calls.threads import Call, Threads
from vermas.errors import Unsupported, VermasError
from vermas.plugins.kinds import KINDS

if TYPE_CHECKING:
    import pluggy

    from vermas.plugins import Plugin, RigPlugins

#: Hooks that a back end may decline with `Unsupported`; from any other hook it is a failure.
MAY_DECLINE = frozenset({"vermas_session_send", "vermas_session_attach"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A question under way."""

    plugin: Plugin
    hook: str
    subject: str
    deadline_s: float
    call: Call
    caller: pluggy.HookCaller


class Asker:
    """Asks plugins one by one: `begin` a question, then `end` it. Safe to use from several threads."""

    def __init__(self, plugins: RigPlugins, threads: Threads, deadlines_s: Mapping[str, float] = DEADLINES_S) -> None:
        self._plugins = plugins
        self._threads = threads
        self._deadlines_s = deadlines_s
        self._overdue: dict[tuple[str, str, str], Call] = {}
        self._callers: dict[tuple[str, str], pluggy.HookCaller] = {}
        self._implementers: dict[str, tuple[Plugin, ...]] = {}

    def implementers(self, hook: str) -> tuple[Plugin, ...]:
        """The rig's own plugins that answer `hook`, in the order in which they are asked."""
        if hook not in self._implementers:
            self._implementers[hook] = self._plugins.implementers(hook)
        return self._implementers[hook]

    def driver(self, hook: str, name: str) -> Plugin | None:
        """The plugin that made a handle, if it is loaded (as a former driver, too) and implements `hook`."""
        former = self._plugins.former
        able = [*self.implementers(hook), *(former.implementers(hook) if former else ())]
        return next((plugin for plugin in able if plugin.name == name), None)

    def begin(self, plugin: Plugin, hook: str, subject: str, arguments: Mapping[str, Any], extra_s: float = 0.0) -> Asked:
        """Start the call. `extra_s` is granted beside the hook's deadline.

        :raises PluginBusy: an earlier call of the same kind missed its deadline and has not returned.
        """
        key = _key(plugin, hook, subject)
        earlier = self._overdue.get(key)
        if earlier is not None and not earlier.ended:
            raise PluginBusy(failure(plugin, hook, subject, "busy", "is not called: an earlier call is overdue and has not returned"))
        self._overdue.pop(key, None)
        caller = self._caller(plugin, hook)
        call = self._threads.start(functools.partial(caller, **arguments))
        return Asked(plugin, hook, subject, self._deadlines_s[hook] + extra_s, call, caller)

    def end(self, asked: Asked) -> Any:
        """The plugin's answer, of the type that the hook promises (None: no answer, or none is due).

        :raises PluginFailure: it raised or answered what it may not; `PluginTimeout` when it is late.
        :raises Unsupported: it says so itself.
        """
        in_time = False
        try:
            in_time = asked.call.wait(asked.deadline_s)
        finally:
            if not in_time:  # late, or this thread was interrupted: either way nobody knows what it still does
                self._overdue[_key(asked.plugin, asked.hook, asked.subject)] = asked.call
        if not in_time:
            said = f"did not return within {asked.deadline_s:g} s; what it did is unknown"
            raise PluginTimeout(failure(asked.plugin, asked.hook, asked.subject, "deadline", said, asked.deadline_s))
        if asked.call.error is not None:
            raise self._raised(asked, asked.call.error) from asked.call.error
        answer = asked.call.value
        if KINDS[asked.hook] == "broadcast":  # pluggy makes a list of it, without the None; a wrapper may make anything
            insist(asked, "" if isinstance(answer, list) else f"a wrapper answers a {type(answer).__name__}, not a list of answers")
            answer = answer[0] if answer else None
        if answer is not None:
            insist(asked, promised(asked.hook)(answer, "the answer"))
        return answer

    def _raised(self, asked: Asked, error: BaseException) -> Exception:
        if isinstance(error, Unsupported) and asked.hook in MAY_DECLINE:
            return Unsupported(f"plugin {asked.plugin}: {error}")
        name = culprit(error, asked.caller.get_hookimpls())
        plugin = (self._plugins.get(name) if name else None) or asked.plugin
        said = f"raised {one_line(error)}"
        failed = failure(plugin, asked.hook, asked.subject, "raised", said, asked.call.duration_s, trace(error))
        if isinstance(error, VermasError):  # made for users: it says itself what to do
            failed = dataclasses.replace(failed, fix="")
        return PluginFailure(failed)

    def _caller(self, plugin: Plugin, hook: str) -> pluggy.HookCaller:
        known = self._callers.get((plugin.name, hook))
        if known is None:
            former = self._plugins.former
            holder = self._plugins if former is None or self._plugins.get(plugin.name) else former
            known = self._callers[plugin.name, hook] = holder.alone(hook, plugin)
        return known


def insist(asked: Asked, wrong: str) -> None:
    """Raise for an invalid answer: `wrong` says what is wrong with it, "" for nothing."""
    if wrong:
        said = f"gave an invalid answer: {wrong}"
        raise PluginFailure(failure(asked.plugin, asked.hook, asked.subject, "invalid", said, asked.call.duration_s))


def failure(plugin: Plugin, hook: str, subject: str, kind: FailureKind, error: str, duration_s: float = 0.0, trace: str = "") -> Failure:
    return Failure(
        plugin=plugin.name,
        distribution=plugin.distribution,
        version=plugin.version,
        hook=hook,
        subject=subject,
        kind=kind,
        error=error,
        duration_s=round(duration_s, 6),
        traceback=trace,
        fix=f"upgrade {plugin.distribution or plugin.name}, or leave it out: -p no:{plugin.name}" if kind != "missing" else "",
    )


def _key(plugin: Plugin, hook: str, subject: str) -> tuple[str, str, str]:
    return plugin.name, hook, "" if hook in HELD_BACK_FOR_ALL else subject
