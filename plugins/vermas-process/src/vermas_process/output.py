"""Reading a session's log: segments named by the offset of their first byte, the oldest removed as new ones come."""

from __future__ import annotations

import os
from pathlib import Path

from vermas.types import Output


def read(home: Path, session_id: str, cursor: int, limit_bytes: int, over: bool) -> Output:
    """At most `limit_bytes` from `cursor` on; `over` says that nobody writes any more."""
    while True:
        segments = find(home, session_id)
        try:
            return _read(segments, cursor, limit_bytes, over)
        except FileNotFoundError:
            continue  # the oldest was removed between the look and the read


def find(home: Path, session_id: str) -> list[tuple[int, Path]]:
    """The segments and their offsets, the oldest first."""
    prefix = f"log-{session_id}."
    try:
        names = [name for name in os.listdir(home) if name.startswith(prefix) and name[len(prefix) :].isdigit()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((int(name[len(prefix) :]), home / name) for name in names)


def total(home: Path, session_id: str) -> int:
    """How much the session has printed so far, in bytes."""
    while segments := find(home, session_id):
        start, path = segments[-1]
        try:
            return start + path.stat().st_size
        except FileNotFoundError:
            continue
    return 0


def _read(segments: list[tuple[int, Path]], cursor: int, limit_bytes: int, over: bool) -> Output:
    if not segments:
        return Output(data=b"", cursor=max(cursor, 0), eof=over)
    sizes = [path.stat().st_size for _, path in segments]
    end = segments[-1][0] + sizes[-1]
    wanted = max(0, end + cursor) if cursor < 0 else cursor
    position, gap, left = wanted, False, max(0, limit_bytes)
    pieces: list[bytes] = []
    for (start, path), size in zip(segments, sizes, strict=True):
        if position < start and not pieces:
            position, gap = start, True  # dropped by the cap, or by a full disk
        if left == 0 or not start <= position < start + size:
            continue
        with path.open("rb") as file:
            file.seek(position - start)
            piece = file.read(min(left, start + size - position))
        pieces.append(piece)
        position += len(piece)
        left -= len(piece)
    return Output(data=b"".join(pieces), cursor=position, gap=gap, eof=over and position >= end)
