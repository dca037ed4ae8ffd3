"""RFC 3339 times as whole microseconds since the epoch, and back. 0 stands for "no time"."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now_us() -> int:
    return time.time_ns() // 1000


def parse_us(text: object) -> int:
    """Any ISO 8601 time; digits beyond microseconds are dropped, a time without offset is UTC.
    0 for anything else and for Go's zero time."""
    if not isinstance(text, str) or not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    if moment.year == 1:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def format_us(us: int) -> str:
    """In UTC with a `Z`, as beads writes it."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")
