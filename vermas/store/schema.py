"""All tables, in the order of creation."""

from __future__ import annotations

from vermas.store import beads, events, incidents, polecats, submissions

_META = ("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",)

DDL: tuple[str, ...] = (*_META, *events.DDL, *polecats.DDL, *submissions.DDL, *beads.DDL, *incidents.DDL)
