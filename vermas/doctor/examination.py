"""The order of the checks: what later ones need comes first."""

from __future__ import annotations

from collections.abc import Iterator

from vermas.config import Config, load
from vermas.doctor import machine, rig, state
from vermas.doctor.diagnosis import Diagnosis, error, fine
from vermas.errors import VermasError
from vermas.store import Store
from vermas.town import Town, recorded_root


def examine(town: Town | None) -> Iterator[Diagnosis]:
    """All checks of the machine and of a town."""
    yield from machine.checks()
    if town is None:
        return
    yield from machine.disk(town)
    yield from state.permissions(town)
    stored = state.database(town)
    yield stored
    try:
        config = load(town)
    except VermasError as wrong:
        yield error("configuration", str(wrong), "mend the file; until then no rig can be checked")
        return
    yield fine("configuration", f"{len(config.rigs)} rig(s)")
    if stored.check.status == "error":
        yield error("rigs", "not checked without a whole database", "mend the database first")
        return
    store = Store(town.db)
    try:
        yield from _with_store(town, config, store)
    finally:
        store.close()


def _with_store(town: Town, config: Config, store: Store) -> Iterator[Diagnosis]:
    yield from state.place(town, store)
    if recorded_root(store.read) != town.root:
        yield error("rigs", "not checked while the links lead elsewhere", "vermas doctor --fix")
        return
    yield from state.locks(town, config, store)
    yield from state.processes(town, store)
    for name in config.rigs:
        yield from rig.checks(town, config, name, store)
    yield from rig.strangers(town, config)
