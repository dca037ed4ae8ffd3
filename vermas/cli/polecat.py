"""`vermas polecat`: the workers."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable

import click

from vermas.cli import acting
from vermas.cli.app import current_town, json_option
from vermas.cli.output import age, emit, one_line, print_table
from vermas.cli.polecatview import commit_lines, sandbox_state, session_lines, submission_lines, view
from vermas.config import load
from vermas.errors import Conflict, UsageError, VermasError
from vermas.lifecycle import desire
from vermas.lifecycle.opening import open_site
from vermas.lifecycle.site import session_of
from vermas.store import Store, polecats
from vermas.town import Town
from vermas.types import Session

_READ_BYTES = 65536
_FOLLOW_S = 0.2


@click.group()
def polecat() -> None:
    """Polecats: one worker on one bead each. Name one by id (p7), address (api/slot0) or bead."""


@polecat.command("list")
@click.option("--rig", default="", help="Only those of one rig.")
@click.option("--all", "everyone", is_flag=True, help="Also those that are gone (the newest 100).")
@json_option
def list_polecats(rig: str, everyone: bool, as_json: bool) -> None:
    """List the polecats that hold a slot."""
    town = current_town()
    if rig:
        load(town).rig(rig)
    store = Store(town.db)
    rows = polecats.every(store.read, rig) if everyone else polecats.living(store.read, rig)
    data = [view(store, row) for row in rows]

    def table() -> None:
        cells = [(d["id"], d["actor"], d["bead"], d["state"], d["session_no"], age(d["age_s"]), d["why"]) for d in data]
        print_table(("id", "address", "bead", "state", "session", "age", "why"), cells, empty="no polecats")

    emit(data, as_json, table)


@polecat.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one polecat: sandbox, sessions, commits."""
    town = current_town()
    store = Store(town.db)
    row = acting.find_polecat(store, name, gone=True)
    data = {
        **view(store, row),
        "sandbox": sandbox_state(town, row),
        "sessions": session_lines(store, row),
        "submissions": submission_lines(store, row),
        "commits": commit_lines(town, row),
    }

    def human() -> None:
        for key, value in data.items():
            if not isinstance(value, list):
                print(f"{key + ':':<12} {one_line(str(value))}")
        print_table(
            ("session", "state", "end", "stopped by"), [(s["no"], s["state"], s["exit"], s["stopped_by"]) for s in data["sessions"]]
        )
        if data["commits"]:
            rows = [(c["sha"][:12], c["files"], f"+{c['added']} -{c['removed']}", c["subject"]) for c in data["commits"]]
            print_table(("commit", "files", "lines", "subject"), rows)

    emit(data, as_json, human)


@polecat.command()
@click.argument("name")
def attach(name: str) -> None:
    """Show a polecat's session in this terminal."""
    town = current_town()
    store = Store(town.db)
    row = acting.find_polecat(store, name)
    argv = open_site(town, load(town), row["rig"]).hooks.session_attach(_handle(store, row))
    if argv is None:
        raise Conflict(f"the runtime of {row['id']} has nothing to attach to: use `vermas polecat read {row['id']} --follow`")
    sys.stdout.flush()
    os.execvp(argv[0], argv)


@polecat.command()
@click.argument("name")
@click.option("--follow", "-f", is_flag=True, help="Go on until the session ends.")
@click.option("--bytes", "limit", default=16384, show_default=True, type=click.IntRange(1), help="How much of the end.")
@click.option("--session", "session_no", type=click.IntRange(1), help="Which session (default: the newest).")
def read(name: str, follow: bool, limit: int, session_no: int | None) -> None:
    """Print the output of a polecat's session as plain text."""
    from vermas.cli.printed import Printed

    town = current_town()
    store = Store(town.db)
    row = acting.find_polecat(store, name, gone=True)
    handle = _handle(store, row, session_no)
    hooks = open_site(town, load(town), row["rig"]).hooks
    cursor, printed = -limit, Printed()
    while True:
        output = hooks.session_read(handle, cursor, _READ_BYTES)
        if output.gap and cursor >= 0:
            print("[… some output was dropped …]")
        sys.stdout.write(printed.text(output.data, last=not output.data and output.eof))
        sys.stdout.flush()
        cursor = output.cursor
        if not output.data and (output.eof or not follow):
            return
        if not output.data:
            time.sleep(_FOLLOW_S)


@polecat.command()
@click.argument("name")
@click.argument("text")
@json_option
def send(name: str, text: str, as_json: bool) -> None:
    """Give a message to a polecat's agent, as if pasted; `-` reads it from standard input."""
    from vermas.errors import Unsupported

    town = current_town()
    store = Store(town.db)
    row = acting.find_polecat(store, name)
    body = sys.stdin.read() if text == "-" else text
    if not body.strip():
        raise UsageError("nothing to send")
    site = open_site(town, load(town), row["rig"])
    try:
        receipt = site.hooks.session_send(_handle(store, row), body, f"operator-{time.time_ns()}")
    except Unsupported as error:
        raise Conflict(str(error) or "this runtime cannot send") from error
    site.note("sent", row, state=receipt.state, why=receipt.why, bytes=len(body.encode("utf-8", "replace")))
    emit(receipt, as_json, f"{receipt.state} {one_line(receipt.why)}".rstrip())
    if receipt.state != "delivered":
        raise click.exceptions.Exit(1)


@polecat.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everyone", is_flag=True, help="All polecats of the town.")
def stop(names: tuple[str, ...], everyone: bool) -> None:
    """End sessions; slots, checkouts and work stay, `restart` goes on."""
    if bool(names) == everyone:
        raise UsageError("name polecats, or say --all")
    town = current_town()
    store = acting.unmoved(town)
    rows = polecats.living(store.read) if everyone else [acting.find_polecat(store, name) for name in names]
    with store.write() as db:
        for row in rows:
            if row["want"] == "run":
                desire.stop(db, row)
    for row in rows:
        _report(town, row, acting.session_over(store), "stopped")
    if not rows:
        print("no polecats")


@polecat.command()
@click.argument("name")
def restart(name: str) -> None:
    """Go on with a stopped polecat: land what a human looked at, else a new session in the same checkout."""
    town = current_town()
    store = acting.unmoved(town)
    row = acting.find_polecat(store, name)
    with store.write() as db:
        desire.restart(db, row)
    fresh = acting.find_polecat(store, row["id"])
    if fresh["submitted"]:
        from vermas.town import poke

        woken = poke(town, row["rig"])
        print(f"{row['id']} will be landed again" + ("" if woken else f" by the next `vermas run {row['rig']}`"))
        return
    _report(town, row, acting.session_runs(store, row["session_no"]), "restarted")


@polecat.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also when it is at work.")
def nuke(name: str, force: bool) -> None:
    """Remove a polecat and free its slot. Its work is kept in the vault; its bead is ready again."""
    town = current_town()
    store = acting.unmoved(town)
    row = acting.find_polecat(store, name)
    with store.write() as db:
        desire.nuke(db, row, force=force)
    _report(town, row, lambda fresh: bool(fresh["gone"]), "removed")
    kept = polecats.get(store.read, row["id"])
    if kept is not None and kept["rescued"] not in ("", "nothing"):
        print(f"its work: git -C {one_line(town.vault(row['rig']))} log {kept['rescued']}")


@polecat.command()
@click.argument("name")
@click.option("--yes-destroy-work", is_flag=True, required=True, help="Say that its unlanded work shall be lost.")
def destroy(name: str, yes_destroy_work: bool) -> None:
    """Remove a polecat together with its work."""
    town = current_town()
    store = acting.unmoved(town)
    row = acting.find_polecat(store, name)
    if not yes_destroy_work:
        raise UsageError("destroy needs --yes-destroy-work")
    with store.write() as db:
        desire.destroy(db, row)
    _report(town, row, lambda fresh: bool(fresh["gone"]), "destroyed")


def _report(town: Town, row: sqlite3.Row, reached: Callable[[sqlite3.Row], bool], done: str) -> None:
    config = load(town)
    if acting.make_true(town, config, row["rig"], row["id"], reached):
        print(f"{row['id']} ({row['bead_id']}) {done}")
        return
    store = Store(town.db)
    fresh = polecats.get(store.read, row["id"])
    reason = fresh["reason"] if fresh is not None else ""
    raise VermasError(f"{row['id']} is not {done} yet{': ' + reason if reason else ''}; see `vermas why {row['id']}`")


def _handle(store: Store, row: sqlite3.Row, session_no: int | None = None) -> Session:
    number = row["session_no"] if session_no is None else session_no
    session = polecats.session(store.read, row["id"], number)
    handle = session_of(session) if session is not None else None
    if handle is None:
        raise Conflict(f"{row['id']} has no session {number or ''}".rstrip())
    return handle
