"""Output of programs as plain text."""

from __future__ import annotations

import pytest

from vermas.cli.printed import Printed

OUTPUT = (
    b"\x1b[1m\x1b[31mE  red\x1b[0m\r\n"
    b"\x1b]0;a title\x07plain \xc3\xa9\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\r\n"
    b"10 %\r20 %\r\n\x1b(B\x1b7\x1bPsecret\x1b\\end\x07\xff\r\n"
)
TEXT = "E  red\nplain élink\n10 %\n20 %\nend\\x07\N{REPLACEMENT CHARACTER}\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_sequences_are_left_out_however_the_pieces_fall(size: int) -> None:
    printed = Printed()
    pieces = [printed.text(OUTPUT[start : start + size]) for start in range(0, len(OUTPUT), size)]
    assert "".join(pieces) + printed.text(b"", last=True) == TEXT


def test_what_never_ends_is_shown() -> None:
    printed = Printed()
    first = printed.text(b"\x1b]0;" + b"x" * 2000)
    assert (first + printed.text(b"", last=True)).startswith("\\x1b]0;xxx")
    assert Printed().text(b"end \x1b[3", last=True) == "end \\x1b[3"


def test_a_session_that_lives_shows_all_but_what_has_only_begun() -> None:
    printed = Printed()
    assert printed.text(b"step 1\r\n\x1b[") == "step 1\n"
    assert printed.text(b"32mstep 2") == "step 2"
