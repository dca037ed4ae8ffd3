"""The program that an agent plugin starts."""

from __future__ import annotations

import os
import shutil

from vermas.errors import ConfigError
from vermas.types import Rig


def find(rig: Rig, word: str, hint: str) -> str:
    """The first word of an argv: a path as an absolute one (`./x` is a file of the town's directory), a bare name as it is.

    :param hint: how to mend it, for the message.
    :raises ConfigError: there is no such program, or it may not be executed.
    """
    if "/" not in word:
        if shutil.which(word) is None:
            raise ConfigError(f"the agent program {word!r} of rig {rig.name} is not on PATH; {hint}")
        return word
    path = os.path.normpath(os.path.join(rig.town, os.path.expanduser(word)))
    if not os.path.isfile(path):
        raise ConfigError(f"the agent program {path} of rig {rig.name} does not exist; {hint}")
    if not os.access(path, os.X_OK):
        raise ConfigError(f"the agent program {path} of rig {rig.name} is not executable; run: chmod +x {path}")
    return path
