"""Merge, check and land for VerMAS: the plugin `refinery`."""

from __future__ import annotations

from vermas.hookspecs import hookimpl
from vermas.types import Candidate, Check, Landing, Rig, Submission, Verdict
from vermas_refinery import checking, landing, merging
from vermas_refinery.options import Options

__all__ = ["Options"]


@hookimpl
def vermas_candidate(rig: Rig, submission: Submission) -> Candidate:
    checking.tidy(rig, submission.id)
    return merging.candidate(rig, submission)


@hookimpl
def vermas_verify(rig: Rig, candidate: Candidate) -> Verdict | None:
    return checking.verify(rig, candidate)


@hookimpl
def vermas_land(rig: Rig, candidate: Candidate) -> Landing:
    return landing.land(rig, candidate)


@hookimpl
def vermas_doctor(rig: Rig) -> list[Check]:
    if rig.check.strip():
        return [Check(name="check", status="ok", message=f"runs before anything lands: {rig.check}")]
    return [
        Check(
            name="check",
            status="warning",
            message=f"rig {rig.name} has no check: nothing can land",
            hint=f"vermas config set rigs.{rig.name}.check 'COMMAND' (or \"none\" to land unchecked)",
        )
    ]
