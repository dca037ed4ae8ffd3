"""Bringing a named commit from a repository that is not trusted into the vault.

Nothing of the source but its objects is looked at: no refs, no configuration, no hooks, no `upload-pack`. Every name is recomputed
from its content, and an object is written only after everything that it points to: so whatever is in the vault is complete there.
"""

from __future__ import annotations

import os

from vermas.errors import GitError
from vermas.git.files import git_dir, is_object_name, object_directories, quoted_path
from vermas.git.loose import copy_commit
from vermas.git.process import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import IO

_PACK_FROM_OBJECTS = 64  # each loose object costs an fsync
_TIMEOUT_S = 600.0


def import_commit(
    vault: Path | str, sources: Sequence[Path | str], commit: str, have: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> None:
    """Copy `commit` and all it needs from the repositories or checkouts `sources`; afterwards the vault has it, complete.

    `have` names commits that are complete in the vault and bound the walk; without them all of the vault's refs do. `env` is of
    `untrusted` when agents can write the receiver. Raises GitError when the sources lack something or something in them is corrupt. No
    process for a usual change, three or four for a large one.
    """
    if not is_object_name(commit):
        raise GitError(f"{commit!r} is not a full object name")
    found = [object_directories(source) for source in sources if git_dir(source)]
    if not found:
        raise GitError(f"no git repository at {' or '.join(str(source) for source in sources)}")
    if not copy_commit(os.path.join(vault, "objects"), found, commit):
        _import_pack(vault, found, commit, have, env or {})


def _import_pack(vault: Path | str, objects: Sequence[str], commit: str, have: Sequence[str], env: Mapping[str, str]) -> None:
    import tempfile

    bounds = have or run(vault, "for-each-ref", "--format=%(objectname)", env=env).text.splitlines()
    lenders = [*(quoted_path(directory) for directory in objects), *filter(None, [env.get("GIT_ALTERNATE_OBJECT_DIRECTORIES")])]
    # the file lies among the objects: it must be on a disk that holds them, not in a small /tmp
    with tempfile.TemporaryFile(dir=os.path.join(vault, "objects")) as pack:
        run(
            vault,
            *("pack-objects", "--revs", "--stdout", "--thin", "--delta-base-offset", "-q"),
            input="\n".join([commit, *(f"^{name}" for name in bounds), ""]).encode(),
            stdout=pack,
            env={**env, "GIT_ALTERNATE_OBJECT_DIRECTORIES": ":".join(lenders)},
            timeout_s=_TIMEOUT_S,
        )
        _store(vault, pack, env)
    rest = have or ("--all",)
    run(vault, "rev-list", "--objects", "--quiet", commit, "--not", *rest, "--", env=env, timeout_s=_TIMEOUT_S)


def _store(vault: Path | str, pack: IO[bytes], env: Mapping[str, str]) -> None:
    pack.seek(8)
    count = int.from_bytes(pack.read(4), "big")
    pack.seek(0)
    os.lseek(pack.fileno(), 0, os.SEEK_SET)
    if count >= _PACK_FROM_OBJECTS:
        run(vault, "index-pack", "--stdin", "--fix-thin", "--strict", input=pack, env=env, timeout_s=_TIMEOUT_S)
    elif count:
        run(vault, "unpack-objects", "-q", "--strict", input=pack, env=env, timeout_s=_TIMEOUT_S)
