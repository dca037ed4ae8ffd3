"""What is installed: the entry points of VerMAS, read without importing any plugin, and remembered in a file.

Reading the metadata of all distributions takes 20 ms; comparing the modification times of the directories on `sys.path` takes none. The
file is only a memory: unreadable, stale or foreign, it is made anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vermas

if TYPE_CHECKING:
    from importlib.metadata import Distribution

PLUGINS = "vermas"
COMMANDS = "vermas.commands"

_FORMAT = 1
_SETTLED_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One entry point: `module` is `package.module` or `package.module:attribute`; `requires` the range of `vermas` that the distribution
    declares ("" for none), `compatible` whether this vermas is in it."""

    group: str
    name: str
    module: str
    distribution: str
    version: str
    requires: str = ""
    compatible: bool = True

    @property
    def source(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True, slots=True)
class Catalog:
    """All entry points of both groups, in the order of `sys.path`."""

    entries: tuple[Installed, ...]

    def plugins(self) -> tuple[Installed, ...]:
        return tuple(entry for entry in self.entries if entry.group == PLUGINS)

    def commands(self) -> tuple[Installed, ...]:
        """The verbs that plugins bring (group `vermas.commands`)."""
        return tuple(entry for entry in self.entries if entry.group == COMMANDS)

    def offers(self, name: str) -> tuple[Installed, ...]:
        """The distributions' offers of a plugin called `name`: none, one, or a clash."""
        return tuple(entry for entry in self.plugins() if entry.name == name)


def catalog(cache: Path | None = None) -> Catalog:
    """The installed entry points; remembered in `cache`, by default a file in the user's cache directory."""
    place = cache or cache_path()
    before = _directory_times(sys.path)
    remembered = _recall(place, before)
    if remembered is not None:
        return remembered
    entries, files = _scan()
    found = Catalog(tuple(entries))
    _remember(place, before, files, found)
    return found


def cache_path() -> Path:
    """The default memory, one per interpreter and `sys.path`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # Without HOME and without a name in the user database: a path that can be neither read nor made.
    home = os.path.expanduser("~")
    root = Path(base) if base.startswith("/") else Path(home if home.startswith("/") else os.devnull, ".cache")
    identity = zlib.crc32("\0".join([sys.prefix, sys.version, *sys.path]).encode("utf-8", "surrogateescape"))
    return root / "vermas" / f"plugins-{identity:08x}.json"


def _directory_times(paths: Iterable[str]) -> dict[str, int]:
    times = {}
    for path in paths:
        try:
            times[path] = os.stat(path or ".").st_mtime_ns
        except OSError:
            times[path] = 0
    return times


def _recall(place: Path, directories: dict[str, int]) -> Catalog | None:
    try:
        data = json.loads(place.read_bytes())
        known = (_FORMAT, vermas.__version__, directories) == (data["format"], data["vermas"], data["directories"])
        if not known or data["files"] != _directory_times(data["files"]):
            return None
        return Catalog(tuple(Installed(**entry) for entry in data["entries"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _remember(place: Path, directories: dict[str, int], files: list[str], found: Catalog) -> None:
    # pip may still be at work in a directory that changed just now, and what it writes inside a dist-info changes no directory above it.
    if max(directories.values(), default=0) > (time.time() - _SETTLED_S) * 1e9:
        return
    data = {
        "format": _FORMAT,
        "vermas": vermas.__version__,
        "directories": directories,
        "files": _directory_times(files),
        "entries": [asdict(entry) for entry in found.entries],
    }
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_text(json.dumps(data))
        fresh.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()


def _scan() -> tuple[list[Installed], list[str]]:
    """All entry points, and the metadata files they were read from."""
    from importlib.metadata import distributions

    entries: list[Installed] = []
    files: list[str] = []
    seen: set[str] = set()
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if not name or _normal(name) in seen:
            continue
        seen.add(_normal(name))
        points = [point for point in distribution.entry_points if point.group in (PLUGINS, COMMANDS)]
        if not points:
            continue
        files += _metadata_files(distribution)
        requires, compatible = _range(distribution)
        entries += [
            Installed(
                group=point.group,
                name=point.name,
                module=point.value,
                distribution=name,
                version=distribution.version or "",
                requires=requires,
                compatible=compatible,
            )
            for point in points
        ]
    return entries, files


def _metadata_files(distribution: Distribution) -> list[str]:
    folder: Any = getattr(distribution, "_path", None)  # no public way to it; without it only directories are watched
    return [] if folder is None else [str(folder / "entry_points.txt")]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _range(distribution: Distribution) -> tuple[str, bool]:
    """The declared range of `vermas` and whether this version lies in it."""
    mine = [line for line in distribution.requires or () if _normal(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) == "vermas"]
    if not mine:
        return "", True
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = [requirement for requirement in map(Requirement, mine) if requirement.marker is None or requirement.marker.evaluate()]
    except InvalidRequirement:
        return mine[0], False
    ranges = [requirement.specifier for requirement in wanted]
    return ",".join(map(str, ranges)), all(span.contains(vermas.__version__, prereleases=True) for span in ranges)
