"""A town to type commands in: `vermas(*words)` runs a command line in this process, `town` is the one around the working directory."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vermas.cli import main
from vermas.town import Town, create


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Vermas = Callable[..., Done]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sockets and caches of the test's own, in a short directory; nothing of a town that the tests may run in."""
    for name in ("VERMAS_TOWN", "VERMAS_RIG", "VERMAS_BEAD", "VERMAS_POLECAT", "VERMAS_SESSION_NO", "VERMAS_PROMPT_FILE"):
        monkeypatch.delenv(name, raising=False)
    short = tempfile.mkdtemp(prefix="vt-", dir="/tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", short)
    monkeypatch.setenv("XDG_CACHE_HOME", short)
    yield
    shutil.rmtree(short)


@pytest.fixture
def vermas(capsys: pytest.CaptureFixture[str]) -> Vermas:
    def run(*words: str, expect: int | None = 0) -> Done:
        code = main(list(words))
        printed = capsys.readouterr()
        assert expect is None or code == expect, f"vermas {' '.join(words)} exited with {code}: {printed.err}{printed.out}"
        return Done(code, printed.out, printed.err)

    return run


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    made = create(tmp_path / "hq")
    monkeypatch.chdir(made.root)
    return made
