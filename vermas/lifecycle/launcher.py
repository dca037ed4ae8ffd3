"""The `vermas` that a session finds first on its PATH: verbs for agents start without `site`, whose `.pth` files cost more than they do."""

from __future__ import annotations

import os
import sys

import vermas
from vermas.processes import atomic_write

_SHEBANG_BYTES = 120
_TEXT = """\
#!{python} -IS
# Written by VerMAS for its sessions. Verbs for agents start at once; any other is run by the installed program.
import sys
sys.path.insert(0, {package!r})
from vermas.cli import IN_SESSION, main
if sys.argv[1:2] and sys.argv[1] in IN_SESSION:
    sys.exit(main())
import os
os.execv({program!r}, ["vermas", *sys.argv[1:]])
"""


def search_path(cache: str) -> list[str]:
    """The directories in which sessions find `vermas`, the first one first; the launcher's is made or brought up to date in `cache`."""
    script = os.path.abspath(sys.argv[0])
    named = os.path.basename(script) == "vermas" and os.path.isfile(script)
    program = script if named else os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "vermas")
    installed = os.path.dirname(program)
    if len(os.fsencode(sys.executable)) > _SHEBANG_BYTES or any(sign.isspace() for sign in sys.executable):
        return [installed]
    package = os.path.dirname(os.path.dirname(os.path.abspath(vermas.__file__)))
    text = os.fsencode(_TEXT.format(python=os.path.abspath(sys.executable), package=package, program=program))
    path = os.path.join(cache, "bin", "vermas")
    if _content(path) != text:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        atomic_write(path, text, 0o700, durable=False)
    return [os.path.dirname(path), installed]


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
