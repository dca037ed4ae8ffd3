"""`check_plugin` finds what would silently never be called; the same findings at load are in tests/test_plugins.py."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from vermas.hookspecs import hookimpl
from vermas.testing.check_plugin import check_plugin


def module(**attributes: Any) -> ModuleType:
    made = ModuleType("acme_checked")
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_all_problems_are_listed() -> None:
    async def vermas_gate(rig: Any) -> None: ...

    def vermas_release(rig: Any) -> None: ...

    class Options:
        pass

    with pytest.raises(AssertionError) as caught:
        check_plugin(module(vermas_gate=hookimpl(vermas_gate), vermas_release=vermas_release, Options=Options))
    first, *problems = str(caught.value).splitlines()
    assert first == "plugin 'acme_checked':"
    assert len(problems) == 3


def test_a_good_plugin_passes() -> None:
    def vermas_gate(rig: Any) -> None: ...

    check_plugin(module(vermas_gate=hookimpl(vermas_gate)))


def test_a_plugin_without_hooks_is_none() -> None:
    with pytest.raises(AssertionError, match="it implements no hook"):
        check_plugin(module())


def test_an_absent_plugin_names_those_that_exist() -> None:
    with pytest.raises(AssertionError, match=r"installed are: .*slots"):
        check_plugin("no-such-plugin")


@pytest.mark.parametrize("name", ["slots", "worktree", "clone", "tmux", "process", "script", "claude", "watchdog", "refinery"])
def test_the_shipped_plugins_pass(name: str) -> None:
    check_plugin(name)
