"""The town's SQLite database: one module per table family, plain functions on a connection.

This package imports neither dataclasses nor the type module, because in-session verbs must start fast.
"""

from __future__ import annotations

from vermas.store.database import Store

__all__ = ["Store"]
