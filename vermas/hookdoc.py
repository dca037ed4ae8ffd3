"""Renders `hookspecs.md` from the source of `vermas.hookspecs`: `python -m vermas.hookdoc > hookspecs.md`."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_HEAD = re.compile(r"(?P<summary>.+?) \((?P<kind>\w+), since (?P<since>[\d.]+)\)$")
_FIELD = re.compile(r":(?P<field>param \w+|returns|raises \w+): ?(?P<text>.*)")


def render() -> str:
    """The whole document."""
    tree = ast.parse(Path(__file__).with_name("hookspecs.py").read_text(encoding="utf-8"))
    hooks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("vermas_")]
    lines = ["# Hooks", "", "<!-- Made from vermas/hookspecs.py: python -m vermas.hookdoc > hookspecs.md -->", ""]
    lines += [ast.get_docstring(tree) or "", "", *_overview(hooks)]
    for hook in hooks:
        lines += ["", *_section(hook)]
    return "\n".join(lines) + "\n"


def _overview(hooks: list[ast.FunctionDef]) -> Iterator[str]:
    yield "| hook | kind | since | |"
    yield "|---|---|---|---|"
    for hook in hooks:
        head = _head(hook)
        yield f"| [`{hook.name}`](#{hook.name}) | {head['kind']} | {head['since']} | {head['summary']} |"


def _section(hook: ast.FunctionDef) -> Iterator[str]:
    head = _head(hook)
    yield f"## {hook.name}"
    yield ""
    yield f"{head['summary']} *({head['kind']}, since {head['since']})*"
    yield ""
    yield "```python"
    yield _signature(hook)
    yield "```"
    body = (ast.get_docstring(hook) or "").splitlines()[1:]
    while body and not body[-1]:
        body.pop()
    in_fields = False
    for line in body:
        field = _FIELD.match(line)
        if field and not in_fields:
            in_fields = True
        yield _field(field) if field else ("  " + line.strip() if in_fields and line.strip() else line)


def _field(field: re.Match[str]) -> str:
    word, _, name = field["field"].partition(" ")
    return f"- {f'`{name}`' if word == 'param' else ' '.join(filter(None, [word, f'`{name}`' if name else '']))}: {field['text']}"


def _signature(hook: ast.FunctionDef) -> str:
    short = f"def {hook.name}({ast.unparse(hook.args)}) -> {ast.unparse(hook.returns) if hook.returns else 'None'}: ..."
    if len(short) <= 100:
        return short
    arguments = "".join(f"    {ast.unparse(argument)},\n" for argument in hook.args.args)
    return f"def {hook.name}(\n{arguments}) -> {ast.unparse(hook.returns) if hook.returns else 'None'}: ..."


def _head(hook: ast.FunctionDef) -> re.Match[str]:
    first = (ast.get_docstring(hook) or "").splitlines()[0]
    head = _HEAD.match(first)
    if head is None:
        raise ValueError(f"the first line of {hook.name} must end with its kind and version: {first!r}")
    return head


if __name__ == "__main__":
    sys.stdout.write(render())
