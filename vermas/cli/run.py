"""`vermas run` and `vermas sling`."""

from __future__ import annotations

import os
import queue
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from vermas import git
from vermas.cli import acting
from vermas.cli.app import current_town, json_option
from vermas.cli.output import emit, one_line, print_json, print_table
from vermas.cli.progress import Display, choose_display
from vermas.config import Config, load
from vermas.errors import Conflict, NotFound, RunError, VermasError
from vermas.run import Outcome, Run
from vermas.store import Store, beads, polecats
from vermas.town import Town
from vermas.types import Event, Pending

_POLL_S = 0.25


@click.command()
@click.argument("rigs", nargs=-1, metavar="[RIG]...")
@click.option("--bead", "bead_ids", multiple=True, metavar="ID", help="Only this bead (repeatable). Default: whatever is ready.")
@click.option("-p", "overrides", multiple=True, metavar="NAME", help="Add a plugin for this run; no:NAME leaves one out (repeatable).")
@click.option("--max", "limit", type=click.IntRange(1), metavar="N", help="At most N polecats per rig at once.")
@click.option("--watch", is_flag=True, help="Go on when nothing is left, and wait for new beads.")
@click.option("--dry-run", is_flag=True, help="Only say what would be started.")
@json_option
def run(
    rigs: tuple[str, ...],
    bead_ids: tuple[str, ...],
    overrides: tuple[str, ...],
    limit: int | None,
    watch: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Drive ready beads to landed commits, in all rigs or those named.

    Exit code 0 only if every chosen bead landed or was closed. Ctrl-C starts nothing new and leaves, sessions go on; `vermas run` comes
    back to them.
    """
    town = current_town()
    config = load(town)
    chosen = _by_rig(town, config, rigs, bead_ids)
    if dry_run:
        _dry_run(town, config, chosen, overrides, as_json)
        return
    drive(town, config, chosen, overrides=overrides, limit=limit, watch=watch, as_json=as_json)


def drive(
    town: Town,
    config: Config,
    chosen: dict[str, list[str] | None],
    *,
    overrides: Sequence[str] = (),
    limit: int | None = None,
    watch: bool = False,
    as_json: bool = False,
) -> list[Outcome]:
    """Run rigs to their end with live progress, print what became of the beads. Raises RunError when not all is well."""
    arrived: queue.SimpleQueue[Event] = queue.SimpleQueue()
    whole = Run(town, config, arrived.put)
    broken: list[VermasError] = []
    for rig, only in chosen.items():
        try:
            whole.add(rig, only=only, overrides=overrides, limit=limit, watch=watch)
        except VermasError as error:
            if len(chosen) == 1:
                raise
            broken.append(error)
            print(f"vermas: rig {rig}: {one_line(str(error))}; the other rigs go on", file=sys.stderr)
    interrupted = _interruptible(whole)
    with choose_display(whole, town, as_json) as display:
        whole.start()
        _show(whole, arrived, display)
    outcomes = whole.outcomes()
    _summary(outcomes, as_json)
    _verdict(whole, outcomes, broken, interrupted)
    return outcomes


@click.command()
@click.argument("bead_id", metavar="BEAD")
@click.option("-p", "overrides", multiple=True, metavar="NAME", help="Add a plugin; no:NAME leaves one out.")
@json_option
def sling(bead_id: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Spawn one polecat on BEAD and return when its session runs. `vermas run` supervises and lands it."""
    from vermas.lifecycle.dispatch import Held, spawn
    from vermas.lifecycle.opening import open_site

    town = current_town()
    config = load(town)
    store = Store(town.db)
    bead = beads.alive(store.read, bead_id)
    _insist_free(store, bead_id)
    git.program()
    site = open_site(town, config, bead["rig"], overrides=overrides)
    answer = spawn(site, bead_id)
    if answer is None:
        raise Conflict(f"{bead_id} was claimed by another process just now")
    if isinstance(answer, (Pending, Held)):
        raise Conflict(f"{bead_id} cannot start now: {answer.why}")
    reached = acting.make_true(town, config, bead["rig"], answer, acting.session_runs(store, 0))
    row = polecats.get(store.read, answer)
    if row is None or not reached or row["want"] != "run":
        raise VermasError(f"{answer} on {bead_id} did not start: {row['reason'] if row else ''}; see `vermas why {answer}`")
    data = {"polecat": answer, "bead": bead_id, "rig": bead["rig"], "slot": row["slot"]}
    emit(data, as_json, f"{answer} works on {bead_id} in {bead['rig']}/{row['slot']}; `vermas run {bead['rig']}` supervises and lands it")


def _by_rig(town: Town, config: Config, rigs: Sequence[str], bead_ids: Sequence[str]) -> dict[str, list[str] | None]:
    for name in rigs:
        config.rig(name)
    if not bead_ids:
        names = list(dict.fromkeys(rigs)) or list(config.rigs)
        if not names:
            raise NotFound("rig", "any", (), "add one with `vermas rig add NAME ORIGIN`")
        return dict.fromkeys(names)
    store = Store(town.db)
    chosen: dict[str, list[str] | None] = {}
    for bead_id in bead_ids:
        rig = str(beads.alive(store.read, bead_id)["rig"])
        if rigs and rig not in rigs:
            raise Conflict(f"{bead_id} belongs to rig {rig}, which is not among {', '.join(rigs)}")
        config.rig(rig)
        listed = chosen.setdefault(rig, [])
        if listed is not None:
            listed.append(bead_id)
    store.close()
    return chosen


def _insist_free(store: Store, bead_id: str) -> None:
    at_work = polecats.of_bead(store.read, bead_id)
    if at_work is not None:
        raise Conflict(f"{bead_id} is claimed by {at_work['id']} already: see `vermas polecat show {at_work['id']}`")
    bead = beads.alive(store.read, bead_id)
    if bead["status"] != "open":
        raise Conflict(f"{bead_id} is {bead['status']}, not open: `vermas bead reopen {bead_id}` first")


def _dry_run(town: Town, config: Config, chosen: dict[str, list[str] | None], overrides: Sequence[str], as_json: bool) -> None:
    from vermas.lifecycle.dispatch import preview
    from vermas.lifecycle.opening import open_site

    rows = [line for rig, only in chosen.items() for line in preview(open_site(town, config, rig, overrides=overrides), only=only)]

    def table() -> None:
        print_table(
            ("rig", "bead", "title", "would"), [(r["rig"], r["bead"], r["title"], r["would"]) for r in rows], empty="nothing is ready"
        )

    emit(rows, as_json, table)


def _interruptible(whole: Run) -> list[int]:
    """First Ctrl-C: leave in order. Second: leave at once. Sessions are not this process's children and go on either way."""
    presses: list[int] = []

    def pressed(number: int, frame: FrameType | None) -> None:
        presses.append(number)
        if len(presses) > 1:
            if sys.stdout.isatty():
                os.write(1, b"\x1b[?25h")  # the live picture hides the cursor
            os._exit(130)
        whole.stop()
        os.write(2, b"\nvermas: nothing new is started; sessions go on. `vermas run` comes back to them. Ctrl-C again leaves at once.\n")

    signal.signal(signal.SIGINT, pressed)
    signal.signal(signal.SIGTERM, pressed)
    return presses


def _show(whole: Run, arrived: queue.SimpleQueue[Event], display: Display) -> None:
    while True:
        over = not whole.alive
        try:
            display.event(arrived.get(timeout=0.0 if over else _POLL_S) if not over else arrived.get_nowait())
        except queue.Empty:
            if over:
                return
            display.tick()


def _summary(outcomes: list[Outcome], as_json: bool) -> None:
    if as_json:
        print_json({"outcomes": outcomes}, indent=None)
        return
    rows = [(o.rig, o.bead_id, o.title[:60], o.state, o.sha[:12] or o.why) for o in outcomes]
    print_table(("rig", "bead", "title", "outcome", "commit or why"), rows, empty="nothing was ready")


def _verdict(whole: Run, outcomes: list[Outcome], broken: list[VermasError], interrupted: list[int]) -> None:
    if interrupted:
        working = sum(outcome.state == "working" for outcome in outcomes)
        print(f"vermas: left {working} at work; `vermas run` comes back, `vermas polecat stop --all` ends them", file=sys.stderr)
        raise click.exceptions.Exit(130)
    failures = list(whole.failures.values())
    if len(failures) == 1 and len(outcomes) == 0:
        raise failures[0]
    for rig, error in whole.failures.items():
        print(f"vermas: rig {rig}: {one_line(str(error))}", file=sys.stderr)
    bad = [outcome for outcome in outcomes if not outcome.good]
    if bad:
        raise RunError(f"{len(bad)} of {len(outcomes)} beads did not land: {', '.join(outcome.bead_id for outcome in bad[:10])}")
    if failures or broken:
        raise RunError("not every rig could be run: see above")
