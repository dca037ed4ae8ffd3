"""The only place that runs git.

`run` starts one git process in an environment of its own. `Repository` is a bare repository that only VerMAS writes (the vault).
`untrusted` lets the same commands look at a repository that agents can write (the yard, a sandbox) without obeying its configuration.
`create_rig_repositories`, `refresh_target` and `push` talk to a rig's origin.
"""

from __future__ import annotations

from vermas.git.files import git_dir, object_directories, read_ref
from vermas.git.origin import PushResult, create_rig_repositories, default_branch, ls_remote, push, refresh_target, target_ref
from vermas.git.process import HELD, Result, run, untrusted
from vermas.git.repository import Commit, MergeResult, Repository

__all__ = [
    "HELD",
    "Commit",
    "MergeResult",
    "PushResult",
    "Repository",
    "Result",
    "create_rig_repositories",
    "default_branch",
    "git_dir",
    "ls_remote",
    "object_directories",
    "push",
    "read_ref",
    "refresh_target",
    "run",
    "target_ref",
    "untrusted",
]
