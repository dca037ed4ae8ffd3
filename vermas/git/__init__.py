"""The only place that runs git.

`run` starts one git process in an environment of its own. `Repository` is a bare repository that only VerMAS writes (the vault).
`untrusted` lets the same commands look at a repository that agents can write (the yard, a sandbox) without obeying its configuration.
`create_rig_repositories`, `refresh_target` and `push` talk to a rig's origin.
"""

from __future__ import annotations

from vermas.git.files import git_dir, object_directories, read_ref
from vermas.git.process import HELD, Result, program, run, untrusted
from vermas.git.repository import Repository

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vermas.git.origin import PushResult, create_rig_repositories, default_branch, ls_remote, push, refresh_target, target_ref
    from vermas.git.values import MergeResult

__all__ = [
    "HELD",
    "MergeResult",
    "PushResult",
    "Repository",
    "Result",
    "create_rig_repositories",
    "default_branch",
    "git_dir",
    "ls_remote",
    "object_directories",
    "program",
    "push",
    "read_ref",
    "refresh_target",
    "run",
    "target_ref",
    "untrusted",
]


def __getattr__(name: str) -> object:
    """The rest when it is asked for: `vermas done` needs none of it, and its imports cost more than its work."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vermas.git import origin, values

    return getattr(values if hasattr(values, name) else origin, name)
