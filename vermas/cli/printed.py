"""What a program printed on a terminal, as text for another one."""

from __future__ import annotations

import codecs
import re

from vermas.cli.output import sanitize

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-OQ-WYZ\\`-~])")
#: The beginning of a sequence or of a line's end at the end of a piece; the rest of it comes with the next one.
_BEGUN = re.compile(r"(?:\r+|\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]{0,1000}\x1b?|[ -/]*))\Z")
_LINE_END = re.compile(r"\r+\n?")


class Printed:
    """Output that comes in pieces. Colours and other escape sequences are left out, carriage returns end lines, and what could steer
    a terminal otherwise is made visible."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""

    def text(self, data: bytes, *, last: bool = False) -> str:
        """The text of the next piece."""
        text = self._begun + self._decoder.decode(data, last)
        begun = None if last else _BEGUN.search(text)
        self._begun = begun[0] if begun else ""
        return sanitize(_LINE_END.sub("\n", _SEQUENCE.sub("", text.removesuffix(self._begun))))
