"""Reading `issues.jsonl` whatever happened to it: every usable line is used, every other one is named and kept beside the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from vermas.beads.record import usable_id
from vermas.errors import VermasError
from vermas.processes import atomic_write
from vermas.store.records import loads
from vermas.store.timestamps import parse_us

LINE_BYTES = 64 * 1024 * 1024
FILE_BYTES = 2 * 1024 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n\0"
_MARKERS = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")


@dataclass(frozen=True, slots=True)
class Line:
    """A usable line: bytes `start` to `end` of the document. `id` is "" for a line that is not an issue and is kept as it is."""

    number: int
    start: int
    end: int
    id: str
    updated_us: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that cannot be used, and why."""

    number: int
    start: int
    end: int
    reason: str


@dataclass(slots=True)
class Document:
    """A file as read: `lines` in its order with each id once, `rejected` the rest. `by_id` says whether the ids ascend."""

    data: bytes
    lines: list[Line] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    by_id: bool = True

    @property
    def digest(self) -> str:
        return digest(self.data)

    def text(self, line: Line) -> str:
        return self.data[line.start : line.end].decode("utf-8")


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read(path: str) -> bytes:
    """All bytes of a file, or one line that says why not."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise VermasError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > FILE_BYTES:
        raise VermasError(f"cannot read {path}: it is larger than {FILE_BYTES // 1024**3} GiB; split it")
    return data


def parse(data: bytes) -> Document:
    """Sort the lines of a file into usable and not. Of several lines with one id the newest is used, of equally new ones the last."""
    document = Document(data)
    newest: dict[str, Line] = {}
    foreign: list[Line] = []
    for number, start, end in _spans(data):
        try:
            line = _line(data, number, start, end)
        except ValueError as error:
            document.rejected.append(Rejected(number, start, end, str(error)))
            continue
        if not line.id:
            foreign.append(line)
            continue
        rival = newest.get(line.id)
        if rival is not None:
            line, loser = (line, rival) if line.updated_us >= rival.updated_us else (rival, line)
            document.rejected.append(
                Rejected(loser.number, loser.start, loser.end, f"{line.id} is also on line {line.number}, which is used")
            )
        newest[line.id] = line
    issues = sorted(newest.values(), key=lambda line: line.number)
    document.by_id = all(left.id < right.id for left, right in pairwise(issues))
    document.lines = sorted([*issues, *foreign], key=lambda line: line.number)
    document.rejected.sort(key=lambda line: line.number)
    return document


def _spans(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(line number, start, end) of every line that is not blank, without what surrounds its text."""
    position = len(_BOM) if data.startswith(_BOM) else 0
    number = 0
    while position < len(data):
        number += 1
        newline = data.find(b"\n", position)
        end = len(data) if newline < 0 else newline
        if end - position > LINE_BYTES:
            yield number, position, end
        else:
            stripped = data[position:end].lstrip(_BLANK)
            start = end - len(stripped)
            stripped = stripped.rstrip(_BLANK)
            if stripped:
                yield number, start, start + len(stripped)
        position = end + 1


def _line(data: bytes, number: int, start: int, end: int) -> Line:
    """A usable line; ValueError says why it is none."""
    if end - start > LINE_BYTES:
        raise ValueError(f"longer than {LINE_BYTES // 1024**2} MiB")
    raw = data[start:end]
    if raw.startswith(_MARKERS):
        raise ValueError("a git conflict marker")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start + 1}") from None
    try:
        record = loads(text)
    except ValueError as error:
        torn = end == len(data)
        raise ValueError(f"torn: the file ends inside it ({error})" if torn else f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # one exception for every unusable line
    if record.get("_type", "issue") != "issue":
        return Line(number, start, end, "", 0)
    bead_id = record.get("id")
    if not usable_id(bead_id):
        raise ValueError("no id" if bead_id in (None, "") else f"unusable id {bead_id!r:.60}")
    return Line(number, start, end, str(bead_id), parse_us(record.get("updated_at")))


def quarantine(path: str, document: Document) -> str:
    """Keep the rejected lines in `PATH.quarantine`, each once, under a comment that says where it was and why; answers that file's path."""
    target = f"{path}.quarantine"
    try:
        with open(target, "rb") as file:
            kept = file.read()
    except FileNotFoundError:
        kept = b""
    present = set(kept.split(b"\n"))
    added = b""
    for line in document.rejected:
        body = document.data[line.start : line.end]
        if body not in present:
            present.add(body)
            added += f"# {os.path.basename(path)}:{line.number}: {line.reason}\n".encode("utf-8", "backslashreplace") + body + b"\n"
    if added:
        atomic_write(target, kept + added)
    return target
