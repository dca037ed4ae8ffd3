"""Beads at scale: what VerMAS takes against the floor, the same data through bare `json` and bare `sqlite3`, in one run.

    python benchmarks/beads.py [--beads 100000] [--all-open]

`--all-open` is the worst case for `ready`: nothing is closed, two thirds wait for another bead, one third is a child of one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from vermas.beads import exchange
from vermas.beads.ready import ready_ids
from vermas.store import Store, beads

STATUSES = ("closed",) * 12 + ("tombstone",) * 4 + ("open",) * 3 + ("hooked",)
TYPES = ("task",) * 12 + ("bug", "bug", "feature", "epic", "chore", "merge-request", "agent", "message")


def record(number: int, chance: random.Random, *, all_open: bool) -> dict[str, Any]:
    """A record like those of real projects: 600 bytes, every third with a dependency on an older one."""
    status = "open" if all_open else chance.choice(STATUSES)
    made = {
        "id": f"big-{number:06d}",
        "title": f"Bead number {number}",
        "description": "Something is to be done here, and these are the words that say what. " * chance.randint(2, 9),
        "status": status,
        "priority": chance.randint(0, 4),
        "issue_type": "task" if all_open else chance.choice(TYPES),
        "created_at": f"2026-01-{1 + number % 28:02d}T12:{number % 60:02d}:03.{number % 1000:03d}456789-08:00",
        "updated_at": f"2026-02-{1 + number % 28:02d}T12:{number % 60:02d}:03Z",
    }
    if status == "closed":
        made["closed_at"] = made["updated_at"]
    if number and (all_open or number % 3 == 0):
        kind = "parent-child" if number % 9 == 0 else "blocks"
        target = f"big-{number // 2:06d}"
        made["dependencies"] = [{"issue_id": made["id"], "depends_on_id": target, "type": kind, "created_at": made["created_at"]}]
    return made


def timed(act: Callable[[], object], repeat: int = 1) -> float:
    """The median time of an act, in milliseconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        act()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


class Floor:
    """The least that the same work can cost: parse and insert, one update, one scan of an index, dump and write."""

    def __init__(self, folder: str, source: str) -> None:
        self.source = source
        self.path = os.path.join(folder, "floor.jsonl")
        self.db = sqlite3.connect(os.path.join(folder, "floor.db"), isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE b (id TEXT PRIMARY KEY, status TEXT, created TEXT, record TEXT)")
        self.db.execute("CREATE INDEX s ON b (status, created, id)")

    def load(self) -> None:
        self.db.execute("BEGIN")
        with open(self.source, encoding="utf-8") as file:
            for line in file:
                data = json.loads(line)
                self.db.execute("INSERT INTO b VALUES (?, ?, ?, ?)", (data["id"], data["status"], data["created_at"], line.rstrip()))
        self.db.execute("COMMIT")

    def ready(self) -> None:
        self.db.execute("SELECT id FROM b WHERE status = 'open' ORDER BY created LIMIT 10").fetchall()

    def claim(self, bead_id: str) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("UPDATE b SET status = 'hooked' WHERE id = ? AND status = 'open'", (bead_id,))
        self.db.execute("COMMIT")

    def export(self) -> None:
        with open(self.path, "w", encoding="utf-8") as file:
            file.writelines(f"{row[0]}\n" for row in self.db.execute("SELECT record FROM b ORDER BY id"))
            file.flush()
            os.fsync(file.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--beads", type=int, default=100_000)
    parser.add_argument("--all-open", action="store_true")
    options = parser.parse_args()
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="vermas-beads-") as folder:
        source, own = os.path.join(folder, "in.jsonl"), os.path.join(folder, "big", ".beads", "issues.jsonl")
        with open(source, "w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(record(number, chance, all_open=options.all_open))}\n" for number in range(options.beads))
        size = os.path.getsize(source) / 1e6
        floor = Floor(folder, source)
        store = Store.create(os.path.join(folder, "town.db"), "benchmrk")
        rows = [("import", timed(lambda: exchange.import_file(store, "big", source)), timed(floor.load))]
        found = ready_ids(store.read, "big")
        rows.append(("import again, unchanged", timed(lambda: exchange.import_file(store, "big", source)), rows[0][2]))
        rows.append(("ready, first 10", timed(lambda: ready_ids(store.read, "big", limit=10), 7), timed(floor.ready, 7)))
        rows.append((f"ready, all {len(found)}", timed(lambda: ready_ids(store.read, "big"), 7), timed(floor.ready, 7)))
        some = min(100, len(found))
        mine, theirs = iter(found), iter(found)
        rows.append(("claim", timed(lambda: claim(store, next(mine)), some), timed(lambda: floor.claim(next(theirs)), some)))
        rows.append(("export", timed(lambda: exchange.sync(store, "big", own)), timed(floor.export)))
        rows.append(("sync, nothing to do", timed(lambda: exchange.sync(store, "big", own), 100), 0.0))
        with open(own, "a", encoding="utf-8") as file:
            file.write('{"id":"big-new","title":"by hand"}\n')
        rows.append(("sync, one line edited", timed(lambda: exchange.sync(store, "big", own)), 0.0))
        store.close()
    print(f"{options.beads} beads, {size:.0f} MB of JSON, peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB\n")
    print(f"| {'what':<24} | vermas, ms | floor, ms | ratio |\n|{'-' * 26}|{'-' * 12}|{'-' * 11}|{'-' * 7}|")
    for name, ours, raw in rows:
        print(f"| {name:<24} | {ours:>10.2f} | " + (f"{raw:>9.2f} | {ours / raw:>5.1f} |" if raw else f"{'':>9} | {'':>5} |"))


def claim(store: Store, bead_id: str) -> None:
    with store.write() as db:
        if not beads.claim(db, bead_id, "big/polecats/slot0"):
            raise SystemExit(f"{bead_id} could not be claimed")


if __name__ == "__main__":
    main()
