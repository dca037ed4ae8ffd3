"""Candidates: what would land, built by plumbing."""

from __future__ import annotations

from typing import Any

import pytest

from vermas.errors import GitError
from vermas.testing.town import git
from vermas.types import Candidate


def test_a_change_on_the_target(works: Any) -> None:
    commit = works.change({"a.txt": "a\n"})
    candidate = works.candidate(commit)
    assert (candidate.kind, candidate.base) == ("merge", works.base)
    assert works.vault.commit(candidate.commit).parents == (works.base, commit)
    assert works.vault.commit(candidate.commit).tree == candidate.tree == works.vault.commit(commit).tree
    message = git(works.rig.vault, "log", "-1", "--format=%B", candidate.commit)
    assert message.splitlines()[0] == "Merge app-1: Do the thing"
    assert "Bead: app-1" in message
    assert works.vault.refs("refs/heads/") == {}


def test_the_same_input_gives_the_same_commit(works: Any) -> None:
    submission = works.submission(works.change({"a.txt": "a\n"}))
    assert works.candidate(submission) == works.candidate(submission)


def test_on_a_target_that_moved(works: Any) -> None:
    commit = works.change({"a.txt": "a\n"})
    moved = works.move_origin({"b.txt": "b\n"})
    candidate = works.candidate(commit)
    assert (candidate.kind, candidate.base) == ("merge", moved)
    assert git(works.rig.vault, "ls-tree", "--name-only", candidate.commit).split() == ["README.md", "a.txt", "b.txt"]


def test_a_commit_that_does_not_contain_the_base_undoes_nothing(works: Any) -> None:
    """The agent may have worked from an older commit than it was given."""
    landed = works.candidate(works.change({"b.txt": "b\n"}))
    works.land(landed)
    candidate = works.candidate(works.change({"a.txt": "a\n"}))
    assert "b.txt" in git(works.rig.vault, "ls-tree", "--name-only", candidate.commit).split()


def test_a_conflict_names_the_files(works: Any) -> None:
    commit = works.change({"README.md": "mine\n", "a.txt": "a\n"})
    moved = works.move_origin({"README.md": "theirs\n"})
    candidate = works.candidate(commit)
    assert candidate == Candidate(kind="conflict", submission=candidate.submission, base=moved, files=("README.md",))


@pytest.mark.parametrize("how", ["merged", "same change", "nothing changed"])
def test_nothing_to_land(works: Any, how: str) -> None:
    commit = works.change({"a.txt": "a\n"}) if how != "nothing changed" else works.change({})
    if how == "merged":
        works.land(works.candidate(commit))
    elif how == "same change":
        works.move_origin({"a.txt": "a\n"})
    assert works.candidate(commit).kind == "noop"


def test_a_commit_that_is_not_in_the_vault(works: Any) -> None:
    with pytest.raises(GitError, match="is not in the vault"):
        works.candidate("1" * 40)


def test_unrelated_histories_are_no_conflict(works: Any) -> None:
    tree = works.vault.commit(works.base).tree
    root = works.vault.commit_tree(tree, [], "another root", "Agent <agent@example.org>", 1)
    with pytest.raises(GitError, match="unrelated histories"):
        works.candidate(root)


def test_titles_are_one_line(works: Any) -> None:
    commit = works.change({"a.txt": "a\n"})
    candidate = works.candidate(works.submission(commit, bead_title="a\nb\x00 c " + "x" * 500, message="Why\n\nand how"))
    subject, blank, *body = git(works.rig.vault, "log", "-1", "--format=%B", candidate.commit).splitlines()
    assert subject.startswith("Merge app-1: a b")
    assert len(subject) <= 200
    assert blank == ""
    assert body[:3] == ["Why", "", "and how"]
