"""Which names are allowed for rigs, bead prefixes, branches, origins, plugins and variables. Each function answers what is wrong, or ""."""

from __future__ import annotations

import re

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")
_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,19}")
_PLUGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRANCH_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")


def wrong_rig(name: str) -> str:
    if _NAME.fullmatch(name):
        return ""
    return "a rig's name is 1 to 39 lowercase letters, digits and hyphens, and starts with a letter or digit"


def wrong_prefix(prefix: str) -> str:
    if _PREFIX.fullmatch(prefix):
        return ""
    return "a bead prefix is 1 to 20 lowercase letters, digits and hyphens, and starts with a letter"


def wrong_plugin(name: str) -> str:
    return "" if _PLUGIN.fullmatch(name) else "a plugin or agent name is letters, digits, hyphens, dots and underscores"


def wrong_variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        return "not the name of an environment variable"
    return "VerMAS sets the VERMAS_ variables itself" if name.startswith("VERMAS_") else ""


def wrong_branch(name: str) -> str:
    """The rules of `git check-ref-format --branch`, without asking git."""
    if not name:
        return "a branch name is not empty"
    if len(name.encode("utf-8", "surrogateescape")) > 200:
        return "a branch name has at most 200 bytes"
    parts = name.split("/")
    if _BRANCH_FORBIDDEN.search(name) or name in ("@", "HEAD") or name[0] in "-/" or name[-1] in "/.":
        return "git does not allow this branch name"
    if any(part.startswith(".") or part.endswith(".lock") for part in parts):
        return "git does not allow this branch name"
    return ""


def wrong_origin(origin: str) -> str:
    if not origin or origin.startswith("-") or any(ord(char) < 32 for char in origin):
        return "an origin is the URL or the path of a git repository"
    return ""


def derived_prefix(name: str, taken: frozenset[str]) -> str:
    """A bead prefix for a rig: its own name where that is possible and free, else with a number behind."""
    stem = name.lstrip("0123456789-")[:20].rstrip("-") or "rig"
    candidate, number = stem, 2
    while candidate in taken:
        tail = str(number)
        candidate, number = stem[: 20 - len(tail)] + tail, number + 1
    return candidate


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean …?` or the list of what exists."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""
