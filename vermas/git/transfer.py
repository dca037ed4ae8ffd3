"""Bringing a named commit from a repository that is not trusted into the vault.

Nothing of the source but its objects is looked at: no refs, no configuration, no hooks, no `upload-pack`. `unpack-objects --strict`
recomputes every name and writes an object only when all that it points to is there, so what is in the vault is always complete.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vermas.errors import GitError
from vermas.git.files import is_object_name, object_directories
from vermas.git.process import quoted_path, run

_PACK_FROM_OBJECTS = 2000
_TIMEOUT_S = 600.0


def import_commit(vault: Path | str, source: Path | str, commit: str, have: Sequence[str] = ()) -> None:
    """Copy `commit` and all it needs from the repository or checkout `source`; afterwards the vault has it, complete.

    `have` names commits that are complete in the vault and bound the walk; without them all of the vault's refs do. Raises GitError when
    `source` lacks something or something in it is corrupt.
    """
    if not is_object_name(commit):
        raise GitError(f"{commit!r} is not a full object name")
    objects = object_directories(source)
    bounds = have or run(vault, "for-each-ref", "--format=%(objectname)").text.splitlines()
    # the file lies among the objects: it must be on a disk that holds them, not in a small /tmp
    with tempfile.TemporaryFile(dir=os.path.join(vault, "objects")) as pack:
        run(
            vault,
            *("pack-objects", "--revs", "--stdout", "--thin", "--delta-base-offset", "-q"),
            input="\n".join([commit, *(f"^{name}" for name in bounds), ""]).encode(),
            stdout=pack,
            env={"GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted_path(objects)},
            timeout_s=_TIMEOUT_S,
        )
        pack.seek(8)
        count = int.from_bytes(pack.read(4), "big")
        if count:
            pack.seek(0)
            _store(vault, pack.fileno(), count)
    if not count:
        _require_complete(vault, commit, have)


def _store(vault: Path | str, pack: int, count: int) -> None:
    with open(os.dup(pack), "rb") as source:
        if count >= _PACK_FROM_OBJECTS:
            run(vault, "index-pack", "--stdin", "--fix-thin", "--strict", "--check-self-contained-and-connected", input=source, timeout_s=_TIMEOUT_S)
        else:
            run(vault, "unpack-objects", "-q", "--strict", input=source, timeout_s=_TIMEOUT_S)


def _require_complete(vault: Path | str, commit: str, have: Sequence[str]) -> None:
    run(vault, "rev-list", "--objects", "--quiet", commit, "--not", *(have or ("--all",)), "--", timeout_s=_TIMEOUT_S)
