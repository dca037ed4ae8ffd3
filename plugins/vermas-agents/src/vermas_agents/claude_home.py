"""Where Claude Code keeps its own state: read here, never written."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from typing import Any


def directory() -> str:
    """The directory of settings and transcripts."""
    return os.environ.get("CLAUDE_CONFIG_DIR") or os.path.expanduser("~/.claude")


def state() -> dict[str, Any] | None:
    """What Claude remembers of its user (`.claude.json`): onboarding, trusted projects. None when there is nothing readable."""
    place = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.expanduser("~")
    try:
        with open(os.path.join(place, ".claude.json"), encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def transcript(session_id: str) -> str:
    """The file with the conversation of a session, or "": without one there is nothing to resume."""
    found = glob.glob(os.path.join(glob.escape(directory()), "projects", "*", f"{session_id}.jsonl"))
    return found[0] if found else ""


def entries(path: str) -> Iterator[dict[str, Any]]:
    """The objects of a transcript; a line that is none (the last may be half written) is left out."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry
