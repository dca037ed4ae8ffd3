"""One git process: its environment, its deadline, its errors."""

from __future__ import annotations

import functools
import os
from contextvars import ContextVar

from vermas.errors import GitError
from vermas.git.child import Expired, run_child
from vermas.git.files import quoted_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path
    from typing import IO

#: Descriptors (locks) that every git child inherits, so that a lock outlives a killed VerMAS for as long as its git still writes.
HELD: ContextVar[tuple[int, ...]] = ContextVar("HELD", default=())

_STDERR_BYTES = 20_000

# What every git of ours is told, whatever the files say. The user's own configuration is read only with `user_config=True`.
_ALWAYS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.untrackedCache": "keep",
    "core.pager": "cat",
    "core.quotePath": "false",
    "core.fsync": "committed,reference",
    "core.logAllRefUpdates": "always",
    "core.commitGraph": "false",
    "gc.auto": "0",
    "gc.worktreePruneExpire": "never",
    "maintenance.auto": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "push.gpgSign": "false",
    "log.showSignature": "false",
    "submodule.recurse": "false",
    "push.recurseSubmodules": "no",
    "fetch.recurseSubmodules": "false",
    "fetch.writeCommitGraph": "false",
    "fetch.unpackLimit": "1",  # a pack appears whole or not at all; loose objects of a killed fetch would not
    "protocol.version": "2",
    "advice.detachedHead": "false",
    "safe.directory": "*",
}
_NEUTRAL = {
    "core.attributesFile": os.devnull,
    "core.autocrlf": "false",
    "core.askPass": "false",
    "core.sshCommand": "false",
    "credential.helper": "",
    "protocol.ext.allow": "never",
}
_PASSED = ("PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME", "LD_PRELOAD", "LD_LIBRARY_PATH")
_PASSED_TO_ORIGIN = (
    "USER",
    "LOGNAME",
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_PROXY_COMMAND",
    "GIT_SSL_CAINFO",
    "GIT_SSL_NO_VERIFY",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "KRB5CCNAME",
    "DBUS_SESSION_BUS_ADDRESS",
    *(name for word in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (word, word.upper())),
)


class Result:
    """What a git process printed and how it ended. `stdout` is raw; `text` and `fields()` decode file names losslessly."""

    __slots__ = ("returncode", "stderr", "stdout")  # no dataclass: importing those takes longer than a git runs, and `vermas done` waits

    def __init__(self, stdout: bytes, stderr: str, returncode: int) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.returncode = returncode

    @property
    def text(self) -> str:
        """The output without the final newline."""
        return os.fsdecode(self.stdout).rstrip("\n")

    def fields(self) -> list[str]:
        """The NUL-terminated fields of a `-z` output."""
        return os.fsdecode(self.stdout).split("\0")[:-1] if self.stdout else []


def run(
    repo: Path | str | None,
    *args: str,
    input: bytes | IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    timeout_s: float = 60.0,
    ok: Collection[int] = (0,),
    env: Mapping[str, str] | None = None,
    user_config: bool = False,
    cwd: Path | str | None = None,
) -> Result:
    """Run `git *args` on the git directory `repo` (or the checkout that holds it).

    `repo` must be one that only VerMAS or the user writes, or `env` must come from `untrusted`. No hook, pager, editor, prompt or
    background maintenance runs. `user_config` lets git read the user's and the system's configuration (credentials, ssh, `insteadOf`): for
    talking to an origin only. `ok` lists the exit codes that are answers. Raises GitError for another one, a deadline or a death by signal.
    """
    argv = (program(), *args)
    where = dict(_environment(user_config, os.environ.get("PATH", ""), os.environ.get("HOME", "")))
    if repo is not None:
        where["GIT_DIR"] = _git_dir(repo)
    if env:
        where.update(env)
    try:
        # not in the caller's directory, which may be gone
        out, err, returncode = run_child(
            (argv[0], "-C", os.fspath(cwd or "/"), *args), where, input=input, stdout=stdout, timeout_s=timeout_s, keep=HELD.get()
        )
    except Expired:
        raise GitError(f"git {_shown(args)} took longer than {timeout_s:g} s and was ended", argv=argv) from None
    except OSError as error:
        raise GitError(f"cannot run git: {error}", argv=argv) from error
    stderr = err[-_STDERR_BYTES:].decode(errors="surrogateescape")
    if returncode not in ok:
        raise GitError(_failure(args, returncode, stderr), argv=argv, returncode=returncode, stderr=stderr)
    return Result(out, stderr, returncode)


def untrusted(
    git_dir: Path | str, vault: Path | str, *, common: Path | str, work_tree: Path | str | None = None, index: Path | str | None = None
) -> dict[str, str]:
    """The environment in which git works on a git directory that agents can write without reading its configuration.

    Git takes configuration, hooks and attributes from the common directory: here the vault is named as such, while refs, index and working
    tree stay those of `git_dir` (whose real common directory is `common`). So nothing has to be searched for keys that execute
    something, and nothing can be swapped between the search and the use.
    """
    objects = os.path.join(common, "objects")
    env = {
        "GIT_DIR": os.fspath(git_dir),
        "GIT_COMMON_DIR": os.fspath(vault),
        "GIT_OBJECT_DIRECTORY": objects,
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted_path(os.path.join(vault, "objects")),
    }
    if work_tree is not None:
        env["GIT_WORK_TREE"] = os.fspath(work_tree)
    if index is not None:
        env["GIT_INDEX_FILE"] = os.fspath(index)
    return env


@functools.cache
def program() -> str:
    """Where git is. Raises GitError when it is nowhere on PATH."""
    for place in os.get_exec_path():
        found = os.path.join(os.path.abspath(place), "git")
        if os.path.isfile(found) and os.access(found, os.X_OK):
            return found
    raise GitError("git is not installed or not on PATH: VerMAS needs git 2.38 or later")


@functools.lru_cache(maxsize=8)
def _environment(user_config: bool, path: str, home: str) -> Mapping[str, str]:
    """`path` and `home` are the cache's key; the rest of the environment does not change in the life of a process."""
    env = {name: os.environ[name] for name in _PASSED if name in os.environ}
    config = dict(_ALWAYS)
    if user_config:
        env |= {name: os.environ[name] for name in _PASSED_TO_ORIGIN if name in os.environ}
    else:
        config |= _NEUTRAL
        env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_GRAFT_FILE": os.devnull}
    env |= {
        "PATH": path,
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "SSH_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_EDITOR": "false",
        "GIT_PAGER": "cat",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_DEFAULT_REF_FORMAT": "files",
        "GIT_CONFIG_COUNT": str(len(config)),
    }
    for number, (key, value) in enumerate(config.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


def _git_dir(repo: Path | str) -> str:
    inner = os.path.join(repo, ".git")
    return inner if os.path.exists(inner) else os.fspath(repo)


def _failure(args: tuple[str, ...], returncode: int, stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "no message")
    ending = f"was killed by signal {-returncode}" if returncode < 0 else f"failed with exit code {returncode}"
    return f"git {_shown(args)} {ending}: {reason}"


def _shown(args: tuple[str, ...]) -> str:
    text = " ".join(args)
    return text if len(text) <= 200 else text[:200] + "…"
