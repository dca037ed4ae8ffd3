from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from vermas.cli.output import age, emit, one_line, print_table, sanitize, width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x08\x7f\0", "a\\x0db\\x08\\x7f\\x00"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("a\u200bb\ufeff\u00ad\u2060", "a\\u200bb\\ufeff\\xad\\u2060"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\u3164\u115f", "\\u3164\\u115f"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff", "\\udcff"),
        ("héllo 日本 😀 \xa0", "héllo 日本 😀 \xa0"),
    ],
    ids=ascii,
)
def test_sanitize(text: str, shown: str) -> None:
    assert sanitize(text) == shown


def test_one_line() -> None:
    assert one_line("a\r\nb\tc\nd") == "a b c d"


def test_a_megabyte_is_no_matter() -> None:
    assert len(sanitize("é" * 1_000_000)) == 1_000_000


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": "\x1b\u202e\x9b"}, True, "")
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
    assert json.loads(out) == {"a": "\x1b\u202e\x9b"}


def test_emit_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    emit({}, False, "text")
    emit({}, False, lambda: print("called"))
    assert capsys.readouterr().out == "text\ncalled\n"


def test_a_table_in_a_pipe_is_aligned_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "title"), [("a-1", "日本"), ("a-22", "x" * 300 + "\x1b"), (3, "[bold]")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ID    TITLE"
    assert lines[1] == "a-1   日本"
    assert lines[2] == "a-22  " + "x" * 300 + "\\x1b"
    assert lines[3] == "3     [bold]"


def test_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id",), [], empty="nothing")
    print_table(("id",), [])
    assert capsys.readouterr().out == "nothing\n"


def test_a_table_on_a_terminal_holds_no_markup_and_no_escapes() -> None:
    code = "from vermas.cli.output import print_table; print_table(('id', 'title'), [('a-1', '[red]x[/] \\x1b]0;t\\x07')])"
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"})
    os.close(slave)
    assert process.wait(20) == 0
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "[red]x[/]" in shown
    assert "\x1b]0" not in shown
    assert "\\x1b]0;t" in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0.4, "0s"), (4, "4s"), (60, "1m"), (200, "3m 20s"), (7500, "2h 5m"), (3600, "1h"), (90061, "1d 1h"), (864000, "10d")],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_width() -> None:
    assert width("日本") == 4
    assert width("e\u0301") == 1
