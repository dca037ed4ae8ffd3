"""A quick look into an index file (gitformat-index(5)): is there anything in it for which git has to be asked?"""

from __future__ import annotations

import hashlib

_HASH_BYTES = 20
_ENTRY_BYTES = 62  # the fixed part of an entry, flags included
_MARKED = 0xF000  # to be assumed unchanged, extended flags (to be skipped, intent to add), a stage of a conflict
_LONG = 0x0FFF
_GITLINK = b"\x00\x00\xe0\x00"


def is_plain(path: str) -> bool:
    """Whether an index surely holds ordinary files only: nothing marked so that git overlooks it, no submodule, conflict or other index.

    False as well for what is not understood here: other versions, SHA-256, very long names, a file that is damaged.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return False
    end = len(data) - _HASH_BYTES
    if data[:8] != b"DIRC\x00\x00\x00\x02" or hashlib.sha1(data[:end], usedforsecurity=False).digest() != data[end:]:
        return False
    position = 12
    for _ in range(int.from_bytes(data[8:12], "big")):
        flags = int.from_bytes(data[position + 60 : position + 62], "big")
        if position >= end or flags & _MARKED or flags & _LONG == _LONG or data[position + 24 : position + 28] == _GITLINK:
            return False
        position += (_ENTRY_BYTES + (flags & _LONG) + 8) & ~7
    while position < end:
        if not 0x41 <= data[position] <= 0x5A:  # an extension that begins with a capital may be ignored
            return False
        position += 8 + int.from_bytes(data[position + 4 : position + 8], "big")
    return position == end
