"""Sessions that a runtime still has and the store has given up: ended at the start of a run, never guessed about."""

from __future__ import annotations

from vermas.errors import VermasError
from vermas.lifecycle.ending import GRACE_S
from vermas.lifecycle.site import Site
from vermas.store import polecats
from vermas.types import Session


def orphans(site: Site) -> list[Session]:
    """Live sessions of polecats that this town knows to be gone, or that a later session has replaced."""
    return [session for session in site.hooks.session_discover() if _is_orphan(site, session)]


def end_orphans(site: Site) -> None:
    """End them. One that cannot be ended is reported and left to `vermas doctor`."""
    for session in orphans(site):
        row = polecats.get(site.store.read, session.polecat_id)
        try:
            site.hooks.session_stop(session, GRACE_S)
            site.note("orphan-ended", row, session=session.id, driver=session.driver)
        except VermasError as error:
            site.note("orphan-stays", row, session=session.id, driver=session.driver, why=str(error))


def _is_orphan(site: Site, session: Session) -> bool:
    row = polecats.get(site.store.read, session.polecat_id)
    if row is None:
        return False  # unknown to this database: not ours to judge
    known = polecats.session(site.store.read, row["id"], session.session_no)
    return bool(row["gone"]) or row["session_no"] != session.session_no or (known is not None and known["state"] == "ended")
