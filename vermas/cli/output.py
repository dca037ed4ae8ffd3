"""How commands print: foreign text made harmless, tables, JSON, ages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

# Characters with no width of their own that Unicode counts as letters or marks.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def sanitize(text: str) -> str:
    r"""Text for a terminal: control characters other than newline and tab, escape sequences, bidirectional and zero-width characters
    and broken encodings appear as `\x1b`, `\u202e`…"""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in "\n\t" else _visible(char) for char in text)


def one_line(text: str) -> str:
    """`sanitize` for a place that has one line: newlines and tabs become spaces."""
    return sanitize(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def _visible(char: str) -> str:
    if char == " " or (char.isprintable() and char not in _INVISIBLE):
        return char
    import unicodedata

    if unicodedata.category(char) == "Zs":
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def emit(data: Any, as_json: bool, human: str | Callable[[], None]) -> None:
    """Print `data` as JSON, or the same for people: a text, or a function that prints it.
    Foreign text in it is the caller's to sanitize."""
    if as_json:
        print_json(data)
    elif callable(human):
        human()
    else:
        print(human)


def print_json(data: Any, *, indent: int | None = 2) -> None:
    """JSON in ASCII, so that nothing in it can steer a terminal; `indent=None` for one line."""
    import json

    from vermas.types import to_json

    print(json.dumps(to_json(data), indent=indent))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "") -> None:
    """Aligned columns, sanitised; fitted to the width of a terminal, whole otherwise. `empty` is printed when there are no rows."""
    cells = [[one_line(str(cell)) for cell in row] for row in rows]
    if not cells:
        if empty:
            print(empty)
    elif sys.stdout.isatty():
        _print_rich(headers, cells)
    else:
        for row in [[header.upper() for header in headers], *cells]:
            print(_aligned(row, _widths(headers, cells)))


def age(seconds: float) -> str:
    """A duration in at most two units: `4s`, `3m 20s`, `2h 5m`, `6d 1h`."""
    left = max(0, int(seconds))
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    for index, (unit, size) in enumerate(units):
        if left >= size:
            parts = [f"{left // size}{unit}"]
            if index < 3 and (rest := left % size // units[index + 1][1]):
                parts.append(f"{rest}{units[index + 1][0]}")
            return " ".join(parts)
    return "0s"


def _widths(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width, column)) for column in zip(headers, *rows, strict=True)]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip()


def width(text: str) -> int:
    """The columns of a terminal that sanitised text takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def _print_rich(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(Text(header.upper()), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: cells are never markup
    Console().print(table)
