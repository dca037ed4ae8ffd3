"""The environment of a session: an allow-list of the operator's, and the variables by which an agent knows where it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from vermas.types import Launch, Polecat, Rig

#: What every session inherits from the operator when it is set; everything else is left behind.
INHERITED = (
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


def session_environment(
    rig: Rig,
    polecat: Polecat,
    launch: Launch,
    *,
    prompt_file: str,
    token_file: str,
    passed: Iterable[str],
    operator: Mapping[str, str],
    programs: Iterable[str],
) -> dict[str, str]:
    """The complete environment of a session. `programs` are the directories that come first in its PATH."""
    env = {name: operator[name] for name in (*INHERITED, *passed, *launch.secrets) if name in operator}
    env["PATH"] = os.pathsep.join((*programs, operator.get("PATH", os.defpath)))
    env.update(
        {
            "VERMAS_TOWN": rig.town,
            "VERMAS_RIG": rig.name,
            "VERMAS_POLECAT": polecat.id,
            "VERMAS_BEAD": polecat.bead.id,
            "VERMAS_SESSION_NO": str(polecat.session_no),
            "VERMAS_SESSION": tag(rig, polecat.id, polecat.session_no),
            "VERMAS_PROMPT_FILE": prompt_file,
            "VERMAS_TOKEN_FILE": token_file,
            "BEAD_ID": polecat.bead.id,
            "BD_ACTOR": polecat.actor,
            "GIT_CEILING_DIRECTORIES": polecat.slot_dir,
            "GIT_AUTHOR_NAME": polecat.actor,
            "GIT_COMMITTER_NAME": polecat.actor,
            "GIT_AUTHOR_EMAIL": f"{rig.name}.{polecat.slot.name}@vermas.invalid",
            "GIT_COMMITTER_EMAIL": f"{rig.name}.{polecat.slot.name}@vermas.invalid",
            "GIT_TERMINAL_PROMPT": "0",
        }
    )
    env.update(launch.env)
    return env


def tag(rig: Rig, polecat_id: str, session_no: int) -> str:
    """What every process of a session carries in `VERMAS_SESSION`."""
    return f"{rig.town_id}/{polecat_id}/{session_no}"
