from __future__ import annotations

import errno
import importlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from vermas import errors
from vermas.cli import guarded
from vermas.cli.verbs import EXIT_CODES, NOUNS, VERBS
from vermas.town import Town

Vermas = Callable[..., Any]


def test_help_lists_verbs_codes_and_variables(vermas: Vermas) -> None:
    out = vermas("--help").out
    for name, (_, _, text) in VERBS.items():
        assert f"  {name} " in out
        assert text in out
    assert "VERMAS_TOWN" in out
    assert "75   another process holds the lock" in out


def test_no_words_and_help_through_click_are_the_same(vermas: Vermas, tmp_path: Path) -> None:
    out = vermas("--help").out
    assert vermas().out == out
    assert vermas("-h").out == out
    assert vermas("-C", str(tmp_path), "--help").out == out


def test_every_exit_code_is_documented() -> None:
    codes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.VermasError)}
    assert codes <= set(EXIT_CODES)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_of_the_table_is_a_command(name: str) -> None:
    module, _, attribute = VERBS[name][1].partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)


def test_nouns_are_groups() -> None:
    assert set(NOUNS) <= set(VERBS)


def test_version(vermas: Vermas) -> None:
    assert vermas("--version").out.startswith("vermas ")


def test_python_m(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "vermas", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("vermas ")


def test_unknown_command(vermas: Vermas) -> None:
    done = vermas("statsu", expect=2)
    assert done.err == "vermas: no command 'statsu'; did you mean 'status'?\n"


def test_abbreviated_nouns(vermas: Vermas, town: Town) -> None:
    assert vermas("conf", "get", "town.name").out == "hq\n"
    assert "'r' may be rig or run" in vermas("r", "list", expect=2).err
    assert "plugin" in vermas("plug", expect=2).err
    assert "no command 'stat'" in vermas("stat", expect=2).err, "verbs are not abbreviated"


def test_usage_errors(vermas: Vermas, town: Town) -> None:
    assert "No such option" in vermas("rig", "list", "--bogus", expect=2).err
    assert "Missing argument" in vermas("rig", "add", expect=2).err


def test_errors_are_one_harmless_line(vermas: Vermas, town: Town) -> None:
    done = vermas("rig", "show", "a\x1b[2J\u202e\nb", expect=4)
    assert done.err.count("\n") == 1
    assert done.err.isascii()
    assert "\x1b" not in done.err


def test_outside_of_a_town(vermas: Vermas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "vermas init" in vermas("rig", "list", expect=1).err


def test_the_town_option(vermas: Vermas, town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert vermas("-C", town.root, "config", "get", "town.name").out == "hq\n"
    assert vermas("--town", town.root, "config", "get", "town.name").out == "hq\n"
    monkeypatch.setenv("VERMAS_TOWN", town.root)
    assert vermas("config", "get", "town.name").out == "hq\n"


def test_a_closed_pipe_is_quiet(town: Town) -> None:
    """More output than a pipe holds, and nobody reads."""
    code = "import sys; from vermas.cli import guarded; sys.exit(guarded(lambda: print('x' * 1_000_000)))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(10) == 141


def test_the_machines_state_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/x/y")

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert guarded(full) == 1
    assert capsys.readouterr().err == "vermas: /x/y: No space left on device\n"
    assert guarded(interrupted) == 130


def test_a_damaged_database_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    def damaged() -> int:
        raise sqlite3.DatabaseError("database disk image is malformed")

    def misused() -> int:
        raise sqlite3.IntegrityError("UNIQUE constraint failed")

    assert guarded(damaged) == 7
    assert "malformed; `vermas doctor`" in capsys.readouterr().err
    with pytest.raises(sqlite3.IntegrityError):
        guarded(misused)


def test_a_bug_is_a_traceback() -> None:
    def bug() -> int:
        raise FileNotFoundError(errno.ENOENT, "gone", "/x")

    with pytest.raises(FileNotFoundError):
        guarded(bug)


def test_characters_that_the_terminal_cannot_show(town: Town) -> None:
    Path(town.config_file).write_text('[town]\nname = "hé"\n')
    done = subprocess.run(
        [sys.executable, "-m", "vermas", "-C", town.root, "config", "get", "town.name"],
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == b"h\\xe9\n"


def install_command(path: Path, name: str, module: str, source: str) -> None:
    (path / f"{module}.py").write_text(source)
    info = path / f"vermas_{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vermas-{module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vermas.commands]\n{name} = {module}:command\n")


HELLO = """
import click
print("imported")
@click.command()
def command():
    "Say hello."
    print("hello")
"""


def test_a_plugins_verb(vermas: Vermas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_command(tmp_path, "hello", "hello_verb", HELLO)
    monkeypatch.syspath_prepend(tmp_path)
    out = vermas("--help").out
    assert "From plugins:\n  hello  (vermas-hello_verb)" in out
    assert "imported" not in out
    assert vermas("hello").out == "imported\nhello\n"


def test_a_plugins_verb_cannot_hide_ours(vermas: Vermas, town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_command(tmp_path, "rig", "rig_verb", HELLO)
    monkeypatch.syspath_prepend(tmp_path)
    assert "From plugins" not in vermas("--help").out
    assert vermas("rig", "list").out.startswith("no rigs")


@pytest.mark.parametrize(("source", "says"), [("import nonsense_xyz", "ModuleNotFoundError"), ("command = 3", "not a click command")])
def test_a_broken_plugins_verb(vermas: Vermas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str) -> None:
    module = f"broken_verb_{len(source)}"
    install_command(tmp_path, "hello", module, source)
    monkeypatch.syspath_prepend(tmp_path)
    done = vermas("hello", expect=5)
    assert done.err.count("\n") == 1
    assert f"vermas-{module} 1.0" in done.err
    assert says in done.err
