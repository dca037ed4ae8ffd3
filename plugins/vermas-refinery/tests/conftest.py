"""A rig with a refinery, and submissions made of files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pluggy
import pytest

from vermas.git import Repository
from vermas.testing.loading import hooks_of
from vermas.testing.plugin import RigFactory, Wait
from vermas.testing.town import git
from vermas.types import Candidate, Landing, Rig, Submission, Verdict


class Works:
    """One rig and its refinery."""

    def __init__(self, rigs: RigFactory, wait: Wait) -> None:
        self._rigs = rigs
        self._wait = wait
        self.rig = rigs(check="test -f README.md", plugins=("refinery",))
        self.vault = Repository(self.rig.vault)
        self.base = self.vault.resolve("refs/vermas/base/main")
        self.hooks: pluggy.HookRelay = hooks_of("refinery")
        self._number = 0

    def with_check(self, check: str, **options: Any) -> Rig:
        """The same rig with another check and options of the refinery."""
        from vermas_refinery import Options

        self.rig = dataclasses.replace(self.rig, check=check, options={"refinery": Options(**options)})
        return self.rig

    def change(self, files: Mapping[str, str], base: str = "", time: int = 1_700_000_000) -> str:
        """A commit in the vault that sets these files of its parent's top directory."""
        base = base or self.base
        kept = [line for line in git(self.rig.vault, "ls-tree", base).splitlines() if line.split("\t")[1] not in files]
        made = [
            f"100644 blob {git(self.rig.vault, 'hash-object', '-w', '--stdin', stdin=text.encode())}\t{name}"
            for name, text in files.items()
        ]
        tree = git(self.rig.vault, "mktree", stdin="\n".join([*kept, *made]).encode() + b"\n")
        return self.vault.commit_tree(tree, [base], f"set {', '.join(files)}", "Agent <agent@example.org>", time)

    def submission(self, commit: str, **fields: Any) -> Submission:
        """A submission of a commit."""
        self._number += 1
        given: dict[str, Any] = {
            "id": self._number,
            "rig": self.rig.name,
            "bead_id": "app-1",
            "bead_title": "Do the thing",
            "polecat_id": "p1",
            "session_no": 1,
            "commit": commit,
            "branch": "polecat/slot0/app-1@p1",
            "base_sha": self.base,
            "target": "main",
            "actor": "app/polecats/slot0",
        }
        return Submission(**{**given, **fields})

    def candidate(self, commit: str | Submission) -> Candidate:
        """The candidate of a commit or submission."""
        submission = commit if isinstance(commit, Submission) else self.submission(commit)
        candidate: Candidate = self.hooks.vermas_candidate(rig=self.rig, submission=submission)
        return candidate

    def verify(self, candidate: Candidate) -> Verdict | None:
        """One answer."""
        verdicts = self.hooks.vermas_verify(rig=self.rig, candidate=candidate)
        return verdicts[0] if verdicts else None

    def verdict(self, candidate: Candidate) -> Verdict:
        """The answer once the check has run to its end."""

        def ended() -> Verdict | None:
            verdict = self.verify(candidate)
            assert verdict is not None
            return verdict if verdict.kind != "running" else None

        found: Verdict | None = self._wait(ended, 30)
        assert found is not None
        return found

    def land(self, candidate: Candidate) -> Landing:
        """Push it."""
        landing: Landing = self.hooks.vermas_land(rig=self.rig, candidate=candidate)
        return landing

    def move_origin(self, files: Mapping[str, str]) -> str:
        """Somebody else's commit at the origin's target."""
        before = git(self.rig.origin, "rev-parse", "main")
        blob = {name: git(self.rig.origin, "hash-object", "-w", "--stdin", stdin=text.encode()) for name, text in files.items()}
        kept = [line for line in git(self.rig.origin, "ls-tree", before).splitlines() if line.split("\t")[1] not in files]
        lines = [*kept, *(f"100644 blob {sha}\t{name}" for name, sha in blob.items())]
        tree = git(self.rig.origin, "mktree", stdin="\n".join(lines).encode() + b"\n")
        after = git(self.rig.origin, "commit-tree", "-p", before, "-m", "elsewhere", tree)
        git(self.rig.origin, "update-ref", "refs/heads/main", after)
        return after


@pytest.fixture
def works(vermas_rig: RigFactory, vermas_wait: Wait) -> Works:
    return Works(vermas_rig, vermas_wait)
