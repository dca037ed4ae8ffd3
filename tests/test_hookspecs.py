"""The specification, its table and its document say the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from vermas import hookspecs
from vermas.plugins import KINDS

ROOT = Path(__file__).parents[1]
SPECS = [name for name, value in vars(hookspecs).items() if hasattr(value, "vermas_spec")]


def test_the_table_lists_every_hook_in_the_order_of_the_specification() -> None:
    assert list(KINDS) == SPECS


@pytest.mark.parametrize("hook", SPECS)
def test_kind_version_and_firstresult_agree(hook: str) -> None:
    spec = getattr(hookspecs, hook)
    first_line = spec.__doc__.splitlines()[0]
    found = re.search(r"\((exclusive|first|broadcast|driver), since \d+\.\d+\)$", first_line)
    assert found, f"the first line of {hook} must end with its kind and version"
    assert found[1] == KINDS[hook]
    assert bool(spec.vermas_spec["firstresult"]) is (KINDS[hook] != "broadcast")


@pytest.mark.parametrize("hook", SPECS)
def test_every_argument_is_annotated(hook: str) -> None:
    tree = ast.parse((ROOT / "vermas/hookspecs.py").read_text())
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == hook]
    assert function.returns is not None
    assert all(argument.annotation is not None for argument in function.args.args)
    assert not function.args.defaults


def test_the_document_is_the_specification() -> None:
    from vermas.hookdoc import render

    shown = (ROOT / "hookspecs.md").read_text()
    assert shown == render(), "hookspecs.md is out of date; write it anew: python -m vermas.hookdoc > hookspecs.md"


def test_every_hook_is_asked_by_the_core() -> None:
    """A hook that nobody calls is a promise not kept: the facade has it (see test_calls), and somebody uses the facade's method."""
    sources = [path.read_text() for path in (ROOT / "vermas").rglob("*.py") if "testing" not in path.parts and "calls" not in path.parts]
    called = {name for source in sources for name in re.findall(r"\bhooks\.(\w+)\(", source)}
    missing = [hook for hook in SPECS if hook.removeprefix("vermas_") not in called]
    assert not missing
