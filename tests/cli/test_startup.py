"""What starting costs: verbs for agents and `--help` must not import what they do not need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vermas.store import Store, beads, polecats
from vermas.town import Town

HEAVY = {"libtmux", "git", "rich", "asyncio", "pydantic", "pluggy", "importlib.metadata", "tomli_w"}
#: What agents wait for at every step of theirs.
NEVER_IN_A_SESSION = HEAVY | {"click", "dataclasses", "inspect", "subprocess", "tomllib", "typing", "vermas.types", "vermas.config"}

REPORT = """
import os, sys
from vermas.cli import main
code = main(sys.argv[1:])
sys.stderr.write(f"{code} {' '.join(sorted(sys.modules))}")
"""
# The finder of an editable installation imports much itself, before anything of ours runs: leave its imports out.
BARE = "import sys; sys.stderr.write('0 ' + ' '.join(sorted(sys.modules)))"


def modules(code: str, words: list[str], env: dict[str, str]) -> tuple[int, set[str]]:
    done = subprocess.run([sys.executable, "-P", "-c", code, *words], capture_output=True, text=True, check=True, env={**os.environ, **env})
    returned, *names = done.stderr.rsplit("\n", 1)[-1].split(" ")
    return int(returned), set(names)


def imported(words: list[str], env: dict[str, str] | None = None) -> set[str]:
    """The modules that a successful command line imports beyond those of a bare interpreter."""
    code, names = modules(REPORT, words, env or {})
    assert code == 0
    return names - modules(BARE, [], {})[1]


@pytest.fixture
def session(tmp_path: Path, town: Town) -> dict[str, str]:
    """The environment of a session of polecat `p1` on bead `web-1`."""
    store = Store(town.db)
    with store.write() as db:
        beads.insert(db, "web", {"id": "web-1", "title": "a bead"})
        assert polecats.insert(db, rig="web", bead_id="web-1", slot="slot0", place="local", agent="script", target="main") == "p1"
        polecats.decide_session(db, "p1", "secret")
    store.close()
    token = tmp_path / "token"
    token.write_text("secret")
    return {"VERMAS_TOWN": town.root, "VERMAS_POLECAT": "p1", "VERMAS_SESSION_NO": "1", "VERMAS_TOKEN_FILE": str(token)}


def test_done_imports_what_it_needs_and_a_signal_less() -> None:
    report = "import sys, {0}; sys.stderr.write('0 ' + ' '.join(sorted(sys.modules)))"
    bare = modules(BARE, [], {})[1]
    assert not (modules(report.format("vermas.cli.finishing"), [], {})[1] - bare) & (NEVER_IN_A_SESSION | {"json", "re", "hashlib"})
    assert not (modules(report.format("vermas.cli.insession"), [], {})[1] - bare) & {"vermas.git", "vermas.store.beads", "json", "select"}


@pytest.mark.parametrize("words", [["signal", "started"], ["assignment"]], ids=lambda words: words[0])
def test_verbs_of_agents_import_little(session: dict[str, str], words: list[str]) -> None:
    names = imported(words, session)
    assert "sqlite3" in names, "the verb did its work"
    assert not names & NEVER_IN_A_SESSION


def test_help_imports_no_verb(town: Town) -> None:
    imported(["--help"])  # so that the list of installed plugins is remembered
    names = imported(["--help"])
    assert not names & (HEAVY - {"importlib.metadata"} | {"click", "sqlite3", "subprocess"})
    assert not [name for name in names if name.startswith("vermas.cli.") and name != "vermas.cli.verbs"]


def test_version_imports_nothing() -> None:
    assert not imported(["--version"]) & (HEAVY | {"click", "json", "sqlite3"})


def test_the_message_of_an_error_costs_no_click(tmp_path: Path) -> None:
    code, names = modules(REPORT, ["signal", "started"], {"VERMAS_POLECAT": ""})
    assert code == 8
    assert "click" not in names - modules(BARE, [], {})[1]
