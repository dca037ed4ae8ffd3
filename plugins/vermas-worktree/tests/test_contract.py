"""Both providers keep the sandbox contract."""

from __future__ import annotations

from vermas.testing.sandbox_contract import SandboxContract


class TestWorktree(SandboxContract):
    plugin = "worktree"


class TestClone(SandboxContract):
    plugin = "clone"
