"""What the cases of `SandboxContract` work with: a rig, a provider's hooks, and an agent that uses git in a sandbox as agents do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy

from vermas.git import Repository, run
from vermas.testing.loading import hooks_of
from vermas.testing.plugin import OriginFactory, PolecatFactory, RigFactory
from vermas.testing.town import git
from vermas.types import Polecat, Rig, Sandbox, SandboxState

#: What every rig of these cases starts from.
FILES: Mapping[str, str | bytes] = {
    "README.md": "hello\n",
    "src/app.py": "print('one')\n",
    "src/other.py": "print('two')\n",
    "docs/crlf.txt": b"a\r\nb\r\n",
    ".gitignore": "*.log\nbuild/\n",
}


class SandboxBench:
    """Makes sandboxes of one plugin and works in them; `rig` is the rig, `base` the commit they start from."""

    def __init__(
        self, plugin: str, options: Mapping[str, Any], tmp_path: Path, origins: OriginFactory, rigs: RigFactory, polecats: PolecatFactory
    ) -> None:
        self.plugin = plugin
        self.options = dict(options)
        self.tmp_path = tmp_path
        self.hooks: pluggy.HookRelay = hooks_of(plugin)
        self._rigs = rigs
        self._polecats = polecats
        self.origin = origins("sandboxes", FILES)
        self.rig = self.make_rig()
        self.base = git(self.rig.vault, "rev-parse", f"refs/vermas/base/{self.rig.target}")
        self.vault = Repository(self.rig.vault)

    def make_rig(self, **overrides: Any) -> Rig:
        """Another rig of the same origin."""
        return self._rigs(**{"options": self.options, "plugins": (self.plugin,), "origin": str(self.origin), **overrides})

    def polecat(self, slot: str = "slot0", rig: Rig | None = None) -> Polecat:
        """A new polecat in a slot."""
        return self._polecats(rig or self.rig, slot)

    def create(self, polecat: Polecat | None = None, base: str | None = None, rig: Rig | None = None) -> Sandbox:
        """The sandbox of a polecat."""
        rig = rig or self.rig
        made: Sandbox = self.hooks.vermas_sandbox_create(rig=rig, polecat=polecat or self.polecat(rig=rig), base=base or self.base)
        return made

    def inspect(self, sandbox: Sandbox, rig: Rig | None = None) -> SandboxState:
        """What the provider sees."""
        state: SandboxState = self.hooks.vermas_sandbox_inspect(rig=rig or self.rig, sandbox=sandbox)
        return state

    def snapshot(self, sandbox: Sandbox, rig: Rig | None = None) -> str:
        """The commit with everything."""
        sha: str = self.hooks.vermas_sandbox_snapshot(rig=rig or self.rig, sandbox=sandbox)
        return sha

    def rescue(self, sandbox: Sandbox, rig: Rig | None = None) -> str:
        """What VerMAS does before a removal: the snapshot, fetched into the vault and read back."""
        rig = rig or self.rig
        sha = self.snapshot(sandbox, rig)
        ref = f"refs/vermas/rescue/test/{sha[:12]}"
        Repository(rig.vault).fetch((sandbox.path, rig.yard), sha, ref)
        assert git(rig.vault, "rev-parse", ref) == sha
        git(rig.vault, "rev-list", "--objects", "--quiet", sha)
        return sha

    def remove(self, sandbox: Sandbox, rig: Rig | None = None) -> None:
        """Remove a sandbox."""
        self.hooks.vermas_sandbox_remove(rig=rig or self.rig, sandbox=sandbox)

    def commit(self, sandbox: Sandbox, name: str = "work.txt", content: str = "work\n") -> str:
        """An agent's commit of one file."""
        write(sandbox, name, content)
        git(sandbox.path, "add", "--", name)
        git(sandbox.path, "commit", "-q", "-m", f"change {name}")
        return git(sandbox.path, "rev-parse", "HEAD")

    def saved(self, commit: str, name: str) -> bytes | None:
        """The content of a file in a commit of the vault; None when the commit has no such file."""
        listing = git(self.rig.vault, "ls-tree", "-z", commit, "--", name)
        if not listing:
            return None
        return run(self.rig.vault, "cat-file", "blob", listing.split("\t")[0].split(" ")[2]).stdout

    def reachable(self, commit: str) -> set[str]:
        """All commits that a commit of the vault contains."""
        return set(git(self.rig.vault, "rev-list", commit).split())

    def contents(self, commit: str) -> set[bytes]:
        """All contents of all files in all commits that a commit of the vault contains and the base does not."""
        listing = git(self.rig.vault, "rev-list", "--objects", "--no-object-names", commit, f"^{self.base}").split()
        kinds = [(name, git(self.rig.vault, "cat-file", "-t", name)) for name in listing]
        return {run(self.rig.vault, "cat-file", "blob", name).stdout for name, kind in kinds if kind == "blob"}


def write(sandbox: Sandbox, name: str, content: str | bytes) -> Path:
    """Write a file of a sandbox."""
    path = Path(sandbox.path, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fingerprint(sandbox: Sandbox) -> dict[str, object]:
    """Everything of a sandbox that a look or a snapshot must leave as it is, times included."""
    root = Path(sandbox.path)
    files: dict[str, object] = {}
    for directory, directories, names in os.walk(root):
        if ".git" in directories and directory == str(root):
            directories.remove(".git")
        for name in (*directories, *names):
            path = Path(directory, name)
            info = path.lstat()
            files[str(path)] = (info.st_mode, info.st_ino, info.st_mtime_ns, os.readlink(path) if path.is_symlink() else info.st_size)
    index = Path(git(root, "rev-parse", "--path-format=absolute", "--git-path", "index"))
    files["index"] = (index.read_bytes(), index.stat().st_mtime_ns) if index.exists() else None
    files["refs"] = git(root, "for-each-ref")
    files["HEAD"] = Path(git(root, "rev-parse", "--path-format=absolute", "--git-path", "HEAD")).read_bytes()
    return files
