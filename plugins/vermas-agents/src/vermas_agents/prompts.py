"""The first prompt as a command-line argument."""

from __future__ import annotations

from pathlib import Path

#: Linux takes 128 KiB for one argument (MAX_ARG_STRLEN), its end mark included.
LIMIT_BYTES = 100_000


def as_argument(prompt_file: str) -> str:
    """The prompt's text in a form that is safe as one word of an argv: no NUL, not mistaken for an option, not too long."""
    text = Path(prompt_file).read_text(encoding="utf-8", errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}").strip()
    if len(text.encode()) > LIMIT_BYTES:
        return f"Your assignment is in the file {prompt_file}. Read all of it now, then start at once."
    return f"\n{text}" if text.startswith("-") else text
