"""Writes new plugin distributions from the templates beside this file: `$name` and its kin are filled in, the path's too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import vermas
from vermas.errors import Conflict, UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIX = ".template"


@dataclass(frozen=True, slots=True)
class Written:
    """Where the distribution is, and its files, relative to the present directory where they lie below it."""

    directory: str
    files: tuple[str, ...]


def write(name: str, kind: str, into: Path | None = None) -> Written:
    """Write the distribution of a plugin called `name` into a directory that is new or empty, by default `vermas-NAME`.

    :raises UsageError: the name cannot be an entry point, a distribution and a module.
    :raises Conflict: the directory has something in it.
    """
    if not _NAME.fullmatch(name) or len(name) > 40:
        raise UsageError(f"{name!r} cannot be the name of a plugin: use lowercase letters, digits and single dashes, a letter first")
    module = name.replace("-", "_")
    directory = into or Path(f"vermas-{name}")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Conflict(f"{directory} exists already; choose another place with --into DIR")
    values = {"name": name, "module": f"vermas_{module}", "under": module, "range": _range(), "title": name.replace("-", " ").capitalize()}
    written = []
    for relative, template in _templates(files(__name__) / kind, ""):
        path = directory / Template(relative.replace("MODULE", "$module").replace("UNDER", "$under")).substitute(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(template).substitute(values))
        written.append(str(path))
    return Written(str(directory), tuple(written))


def _templates(folder: Traversable, prefix: str) -> list[tuple[str, str]]:
    """Path and text of each template, in a stable order."""
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _templates(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            found.append((prefix + entry.name.removesuffix(_SUFFIX), entry.read_text(encoding="utf-8")))
    return found


def _range() -> str:
    """The versions of vermas that a plugin written today works with: until the next minor version changes a hook."""
    major, minor = vermas.__version__.split(".")[:2]
    return f">={major}.{minor},<{major}.{int(minor) + 1}"
