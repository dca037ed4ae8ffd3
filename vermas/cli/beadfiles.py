"""The rig's `issues.jsonl` around a verb: edits of others are taken in first, changes are written out after, when nobody else does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from vermas.beads import exchange
from vermas.beads.incoming import Report
from vermas.cli.output import one_line
from vermas.errors import StoreError, VermasError
from vermas.store import Store, beads
from vermas.town import Town, poke

#: Above this many beads a verb leaves the writing to `vermas run` and `vermas bead export`: it would cost more than the verb.
_QUICK_BEADS = 20_000
_NAMED = 20


def take_in(town: Town, store: Store, rigs: Iterable[str]) -> None:
    """See what an editor or another tool did to the rigs' files. One `stat` each when nothing happened."""
    for rig in rigs:
        _sync(town, store, rig, edits_only=True)


def changed(town: Town, store: Store, rig: str) -> None:
    """Wake the rig's reconciler, which writes the file too; without one it is written here."""
    if not poke(town, rig) and beads.count(store.read, rig) <= _QUICK_BEADS:
        _sync(town, store, rig)


def name_rejected(path: str, report: Report) -> None:
    """Name the lines that could not be used, on stderr."""
    name = os.path.basename(path)
    for line in report.rejected[:_NAMED]:
        warn(f"{name}:{line.number}: {line.reason}")
    if len(report.rejected) > _NAMED:
        warn(f"and {len(report.rejected) - _NAMED} more lines of {name}")
    if report.rejected:
        warn(f"the rest was used; these lines are kept in {report.quarantine}" if report.quarantine else "the rest was used")
    for kind, names in (("belong to another rig", report.elsewhere), ("kept their status, a polecat works on them", report.kept_claims)):
        if names:
            warn(f"{', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''}: {kind}")


def warn(text: str) -> None:
    print(f"vermas: warning: {one_line(text)}", file=sys.stderr)


def _sync(town: Town, store: Store, rig: str, *, edits_only: bool = False) -> None:
    path = town.issues(rig)
    try:
        if edits_only and not exchange.edited(store, rig, path):
            return
        report = exchange.sync(store, rig, path)
    except StoreError:
        raise
    except (VermasError, OSError) as error:
        warn(f"{error}; the database has the beads, the next change writes them again")
        return
    if report is not None:
        name_rejected(path, report)
