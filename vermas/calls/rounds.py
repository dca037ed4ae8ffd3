"""The four ways to ask: the only one, the first who answers, the maker of the handle, everyone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vermas.calls.asking import Asked, Asker, failure, insist
from vermas.calls.failures import Failure, PluginBusy, PluginFailure
from vermas.plugins import Plugin, RigPlugins

#: Whom was asked, and what came back.
Answer = tuple[Asked, Any]


class Rounds:
    """`arguments` are the hook's, all of them."""

    def __init__(self, plugins: RigPlugins, asker: Asker, report: Callable[[Failure], None]) -> None:
        self._plugins = plugins
        self._asker = asker
        self._report = report

    def exclusive(self, hook: str, subject: str, arguments: Mapping[str, Any]) -> Answer:
        """The answer of the one implementation, never None."""
        makers = self._asker.implementers(hook)
        if not makers:
            raise _nobody(hook, "", subject, "is implemented by no active plugin")
        asked = self._asker.begin(makers[0], hook, subject, arguments)
        return asked, self.end(asked)

    def first(self, hook: str, subject: str, arguments: Mapping[str, Any]) -> Answer | None:
        """The first answer that is not None, in the order of the rig's list. Who raises is not passed over: it might have answered."""
        for plugin in self._asker.implementers(hook):
            asked = self._asker.begin(plugin, hook, subject, arguments)
            answer = self._asker.end(asked)
            if answer is not None:
                return asked, answer
        return None

    def opinion(self, hook: str, subject: str, arguments: Mapping[str, Any]) -> Any:
        """The first answer, where none is as good: a failure is reported and counts as no opinion."""
        try:
            said = self.first(hook, subject, arguments)
        except PluginFailure as error:
            self.report(error)
            return None
        return said[1] if said else None

    def driver(self, hook: str, driver: str, subject: str, arguments: Mapping[str, Any]) -> Answer:
        """The answer of the plugin that made the handle, never None."""
        asked = self.begin_driver(hook, driver, subject, arguments)
        return asked, self.end(asked)

    def order(self, hook: str, driver: str, subject: str, arguments: Mapping[str, Any], extra_s: float = 0.0) -> None:
        """Have the plugin that made the handle do something that has no answer."""
        self._asker.end(self.begin_driver(hook, driver, subject, arguments, extra_s))

    def begin_driver(self, hook: str, driver: str, subject: str, arguments: Mapping[str, Any], extra_s: float = 0.0) -> Asked:
        plugin = self._asker.driver(hook, driver)
        if plugin is None:
            raise _nobody(hook, driver, subject, f"cannot be asked: {self._plugins.unavailable.get(driver, 'the plugin is not loaded')}")
        return self._asker.begin(plugin, hook, subject, arguments, extra_s)

    def end(self, asked: Asked, *, may_be_none: bool = False) -> Any:
        answer = self._asker.end(asked)
        insist(asked, "the answer is None" if answer is None and not may_be_none else "")
        return answer

    def lacks(self, hook: str, driver: str) -> bool:
        """The driver is here, but does not implement the optional `hook`."""
        return self._asker.driver(hook, driver) is None and self._asker.driver("vermas_session_observe", driver) is not None

    def broadcast(
        self,
        hook: str,
        subject: str,
        arguments: Mapping[str, Any],
        *,
        lost: Callable[[PluginFailure], None] | None = None,
        skip: str = "",
    ) -> list[Answer]:
        """The answers that are not None, in the order of the rig's list; all are asked at once.
        Failures are reported and given to `lost`."""
        asked: list[Asked] = []
        said: list[Answer] = []
        for plugin in self._asker.implementers(hook):
            if plugin.name == skip:
                continue
            try:
                asked.append(self._asker.begin(plugin, hook, subject, arguments))
            except PluginFailure as error:
                self._failed(error, lost)
        for one in asked:
            try:
                answer = self._asker.end(one)
            except PluginFailure as error:
                self._failed(error, lost)
            else:
                said += [] if answer is None else [(one, answer)]
        return said

    def report(self, error: PluginFailure) -> None:
        if not isinstance(error, PluginBusy):  # its missed deadline was reported
            self._report(error.failure)

    def _failed(self, error: PluginFailure, lost: Callable[[PluginFailure], None] | None) -> None:
        self.report(error)
        if lost is not None:
            lost(error)


def _nobody(hook: str, name: str, subject: str, error: str) -> PluginFailure:
    absent = Plugin(name=name, distribution="", version="", module=None)
    return PluginFailure(failure(absent, hook, subject, "missing", error))
