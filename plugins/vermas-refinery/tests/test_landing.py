"""Landing: one push, the origin read again, nothing believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vermas.git import Repository, target_ref
from vermas.testing.plugin import OriginFactory, RigFactory
from vermas.testing.town import git
from vermas.types import Candidate


def test_landed(works: Any) -> None:
    candidate = works.candidate(works.change({"a.txt": "a\n"}))
    landing = works.land(candidate)
    assert (landing.kind, landing.sha) == ("landed", candidate.commit)
    assert git(works.rig.origin, "rev-parse", "main") == candidate.commit
    assert works.vault.ref(target_ref("main")) == candidate.commit


def test_again_after_a_crash(works: Any) -> None:
    candidate = works.candidate(works.change({"a.txt": "a\n"}))
    works.land(candidate)
    works.vault.update_ref(target_ref("main"), works.base)
    assert works.land(candidate).kind == "landed"
    assert works.vault.ref(target_ref("main")) == candidate.commit


def test_again_when_others_built_on_it(works: Any) -> None:
    candidate = works.candidate(works.change({"a.txt": "a\n"}))
    works.land(candidate)
    later = works.move_origin({"b.txt": "b\n"})
    landing = works.land(candidate)
    assert (landing.kind, landing.sha) == ("landed", later)


def test_moved(works: Any) -> None:
    candidate = works.candidate(works.change({"a.txt": "a\n"}))
    later = works.move_origin({"b.txt": "b\n"})
    landing = works.land(candidate)
    assert (landing.kind, landing.sha) == ("moved", later)
    assert git(works.rig.origin, "rev-parse", "main") == later
    following = works.candidate(candidate.submission)
    assert following.base == later
    assert works.land(following).kind == "landed"


def test_a_rewound_target_is_moved(works: Any) -> None:
    """The origin was reset to something older: it is not put forward again without new checks."""
    first = works.candidate(works.change({"a.txt": "a\n"}))
    works.land(first)
    second = works.candidate(works.change({"b.txt": "b\n"}, base=first.commit))
    git(works.rig.origin, "update-ref", "refs/heads/main", works.base)
    assert works.land(second).kind == "moved"


def test_rejected_by_a_hook(works: Any) -> None:
    _refuse(Path(works.rig.origin))
    candidate = works.candidate(works.change({"a.txt": "a\n"}))
    landing = works.land(candidate)
    assert landing.kind == "rejected"
    assert "not on a Friday" in landing.log
    assert "next:" in landing.log


def test_into_a_checkout(vermas_origin: OriginFactory, vermas_rig: RigFactory, works: Any) -> None:
    origin = vermas_origin("checkout", bare=False)
    works.rig = vermas_rig(name="web", origin=str(origin), plugins=("refinery",))
    works.vault = Repository(works.rig.vault)
    works.base = works.vault.resolve("refs/vermas/base/main")
    candidate = works.candidate(works.change({"README.md": "new\n"}))
    (origin / "README.md").write_text("the user's own\n")
    landing = works.land(candidate)
    assert landing.kind == "rejected"
    assert "commit, stash or remove them there" in landing.log
    assert (origin / "README.md").read_text() == "the user's own\n"
    git(origin, "checkout", "-q", "README.md")
    assert works.land(candidate).kind == "landed"
    assert (origin / "README.md").read_text() == "new\n"


def test_an_origin_out_of_reach_is_tried_again(works: Any) -> None:
    candidate = works.candidate(works.change({"a.txt": "a\n"}))
    origin = Path(works.rig.origin)
    origin.rename(origin.with_name("away"))
    landing = works.land(candidate)
    assert landing.kind == "retry"
    assert landing.retry_after_s > 0
    origin.with_name("away").rename(origin)
    assert works.land(candidate).kind == "landed"


def test_landed_although_the_connection_broke(works: Any) -> None:
    """The server accepted, and then the line went dead: the origin is read again, and tells."""
    hook = Path(works.rig.origin, "hooks", "post-receive")
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n")
    hook.chmod(0o755)
    candidate = works.candidate(works.change({"a.txt": "a\n"}))
    assert works.land(candidate).kind == "landed"


def test_another_target(works: Any) -> None:
    git(works.rig.origin, "update-ref", "refs/heads/release", "refs/heads/main")
    candidate: Candidate = works.candidate(works.submission(works.change({"a.txt": "a\n"}), target="release"))
    assert works.land(candidate).kind == "landed"
    assert git(works.rig.origin, "rev-parse", "release") == candidate.commit
    assert git(works.rig.origin, "rev-parse", "main") == works.base


def _refuse(origin: Path) -> None:
    hook = origin / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n")
    hook.chmod(0o755)
