"""`SandboxContract`, part 5: a repository that agents can write never makes VerMAS execute anything, nor work on something else."""

from __future__ import annotations

import contextlib
from pathlib import Path
from subprocess import CalledProcessError
from typing import ClassVar

import pytest

from vermas.testing.sandbox_bench import SandboxBench, write
from vermas.testing.town import git
from vermas.types import Sandbox

#: Hooks that some git command runs (githooks(5)).
HOOKS = (
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "p4-pre-submit",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "prepare-commit-msg",
    "push-to-checkout",
    "reference-transaction",
    "sendemail-validate",
    "update",
)

#: Settings whose value git runs; `@` stands for the command.
EXECUTING = {
    "alias.status": "!@",
    "alias.add": "!@",
    "core.alternateRefsCommand": "@",
    "core.askPass": "@",
    "core.editor": "@",
    "core.fsmonitor": "@",
    "core.gitProxy": "@",
    "core.pager": "@",
    "core.sshCommand": "@",
    "credential.helper": "!@",
    "diff.canary.command": "@",
    "diff.canary.textconv": "@",
    "diff.external": "@",
    "filter.canary.clean": "@",
    "filter.canary.smudge": "@",
    "filter.canary.process": "@",
    "gpg.program": "@",
    "gpg.ssh.program": "@",
    "gpg.ssh.defaultKeyCommand": "@",
    "interactive.diffFilter": "@",
    "merge.canary.driver": "@",
    "pager.status": "@",
    "sequence.editor": "@",
    "submodule.sub.update": "!@",
    "tar.tar.command": "@",
    "trailer.canary.command": "@",
    "uploadpack.packObjectsHook": "@",
}
SWITCHES = {
    "commit.gpgSign": "true",
    "tag.gpgSign": "true",
    "log.showSignature": "true",
    "status.submoduleSummary": "true",
    "filter.canary.required": "true",
    "core.untrackedCache": "true",
    "submodule.recurse": "true",
}


class HostileCases:
    """All four hooks, and the fetch of the snapshot, on a repository whose every setting is a trap."""

    plugin: ClassVar[str]

    @pytest.mark.parametrize("where", ["config", "include", "worktree", "attributes"])
    def test_settings_are_not_obeyed(self, sandboxes: SandboxBench, where: str) -> None:
        """Filters, drivers, fsmonitor, hooks…: nothing runs, and the state is seen all the same."""
        victim, trapper = sandboxes.create(sandboxes.polecat("slot0")), sandboxes.create(sandboxes.polecat("slot1"))
        canary = sandboxes.tmp_path / "canary"
        for sandbox in (victim, trapper):
            _set_traps(sandbox, canary, where)
        write(victim, "README.md", "changed\n")
        write(victim, "notes.txt", "a note\n")
        assert sandboxes.inspect(victim).kind == "dirty"
        sha = sandboxes.rescue(victim)
        assert sandboxes.saved(sha, "notes.txt") == b"a note\n"
        sandboxes.create(sandboxes.polecat("slot2"))
        sandboxes.remove(victim)
        assert not canary.exists(), canary.read_text()

    def test_the_traps_work(self, sandboxes: SandboxBench) -> None:
        """Plain git falls into them: the case above proves something."""
        sandbox = sandboxes.create()
        canary = sandboxes.tmp_path / "canary"
        _set_traps(sandbox, canary, "config")
        write(sandbox, "README.md", "changed\n")
        with contextlib.suppress(CalledProcessError):
            git(sandbox.path, "status")
        assert canary.exists()

    def test_attributes_of_the_project(self, sandboxes: SandboxBench) -> None:
        """A filter that the project itself names is not run either, when an agent defines it."""
        first = sandboxes.create()
        write(first, ".gitattributes", "* filter=canary diff=canary merge=canary\n")
        git(first.path, "add", "-A")
        git(first.path, "commit", "-q", "-m", "attributes")
        base = sandboxes.rescue(first)
        canary = sandboxes.tmp_path / "canary"
        _set_traps(first, canary, "config")
        second = sandboxes.create(sandboxes.polecat("slot1"), base=base)
        assert sandboxes.inspect(second).kind == "clean"
        assert not canary.exists(), canary.read_text()

    def test_submodules_are_not_obeyed(self, sandboxes: SandboxBench) -> None:
        """Nor are repositories inside."""
        sandbox = sandboxes.create()
        canary = sandboxes.tmp_path / "canary"
        git(sandbox.path, "init", "-q", "nested")
        nested = Sandbox(driver="", path=str(Path(sandbox.path, "nested")), branch="", base_sha="")
        write(nested, "file.txt", "inside\n")
        git(nested.path, "add", "-A")
        git(nested.path, "commit", "-q", "-m", "inside")
        git(sandbox.path, "-c", "advice.addEmbeddedRepo=false", "add", "nested")
        git(sandbox.path, "commit", "-q", "-m", "a repository inside")
        write(nested, "file.txt", "changed inside\n")
        _set_traps(nested, canary, "config")
        write(
            sandbox, ".gitmodules", '[submodule "nested"]\n\tpath = nested\n\turl = /nowhere\n\tignore = none\n\tupdate = !touch canary\n'
        )
        assert sandboxes.inspect(sandbox).kind == "dirty"
        assert b"changed inside\n" in sandboxes.contents(sandboxes.rescue(sandbox))
        assert not canary.exists(), canary.read_text()

    def test_the_callers_environment_is_not_obeyed(self, sandboxes: SandboxBench, monkeypatch: pytest.MonkeyPatch) -> None:
        """`GIT_DIR` and its kin, as a hook or an editor of the user's would have them set."""
        sandbox = sandboxes.create()
        write(sandbox, "notes.txt", "a note\n")
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE"):
            monkeypatch.setenv(name, "/nowhere")
        monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
        monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
        seen, sha = sandboxes.inspect(sandbox), sandboxes.snapshot(sandbox)
        sandboxes.create(sandboxes.polecat("slot1"))
        monkeypatch.undo()
        assert (seen.kind, seen.untracked) == ("dirty", 1)
        sandboxes.vault.fetch((sandbox.path, sandboxes.rig.yard), sha, "refs/vermas/rescue/test/env")
        assert sandboxes.saved(sha, "notes.txt") == b"a note\n"

    def test_replaced_objects_and_grafts(self, sandboxes: SandboxBench) -> None:
        """What a commit is cannot be redefined by an agent."""
        sandbox = sandboxes.create()
        head = sandboxes.commit(sandbox, "one.txt")
        fake = git(sandbox.path, "commit-tree", "-m", "fake", git(sandbox.path, "rev-parse", f"{sandboxes.base}^{{tree}}"))
        git(sandbox.path, "replace", head, fake)
        assert sandboxes.rescue(sandbox) == head
        assert sandboxes.saved(head, "one.txt") == b"work\n"


def _set_traps(sandbox: Sandbox, canary: Path, where: str) -> None:
    """Let every executing setting and every hook of a sandbox's repository write into `canary`."""
    traps = canary.parent / f"traps-{abs(hash(sandbox.path))}"
    traps.mkdir()
    command = traps / "trap"
    command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$0 $*" >>{canary}\ncat 2>/dev/null\n')
    command.chmod(0o755)
    settings = [*((key, value.replace("@", str(command))) for key, value in EXECUTING.items()), *SWITCHES.items()]
    file = traps / "config"
    for key, value in settings:
        git(traps, "config", "--file", str(file), key, value)
    common = Path(git(sandbox.path, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    if where == "worktree":
        git(sandbox.path, "config", "extensions.worktreeConfig", "true")
        target = Path(git(sandbox.path, "rev-parse", "--path-format=absolute", "--git-dir"), "config.worktree")
    else:
        target = common / "config"
    target.touch()
    if where == "include":
        git(sandbox.path, "config", "--file", str(target), "include.path", str(file))
        git(sandbox.path, "config", "--file", str(target), "includeIf.gitdir:/.path", str(file))
    else:
        target.write_bytes(target.read_bytes() + file.read_bytes())
    attributes = "* filter=canary diff=canary merge=canary\n"
    if where == "attributes":
        write(sandbox, ".gitattributes", attributes)
    (common / "info").mkdir(exist_ok=True)
    (common / "info" / "attributes").write_text(attributes)
    _plant_hooks(common, command)


def _plant_hooks(common: Path, command: Path) -> None:
    (common / "hooks").mkdir(exist_ok=True)
    for name in HOOKS:
        hook = common / "hooks" / name
        hook.unlink(missing_ok=True)
        hook.symlink_to(command)
