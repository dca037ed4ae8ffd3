from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vermas.config import load
from vermas.git import Repository
from vermas.processes import FileLock
from vermas.store import Store, events, polecats, submissions
from vermas.town import Town

Vermas = Callable[..., Any]
Origin = Callable[..., Path]

PLUGINS = "slots,worktree,process,script,watchdog,refinery"


def git(path: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(path), *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_add_makes_a_rig(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    origin = vermas_origin("web")
    git(origin, "branch", "dev")
    data = vermas(
        *("rig", "add", "web", str(origin), "--prefix", "w", "--target", "dev", "--check", "true", "--agent", "script"),
        *("--plugins", PLUGINS, "--max", "3", "--json"),
    ).json
    assert data["plugins"] == PLUGINS.split(",")
    rig = load(town).rig("web")
    assert (rig.prefix, rig.target, rig.check, rig.agent, rig.max_polecats) == ("w", "dev", "true", "script", 3)
    sha = git(origin, "rev-parse", "dev")
    assert Repository(town.vault("web")).resolve("refs/vermas/base/dev") == sha
    assert Repository(town.yard("web")).resolve("refs/vermas/base/dev") == sha
    assert os.stat(town.rig_dir("web")).st_mode & 0o777 == 0o700
    recorded = events.since(Store(town.db).read, 0)
    assert [(row["rig"], row["kind"]) for row in recorded] == [("web", "rig-added")]


def test_add_with_defaults(vermas: Vermas, town: Town, vermas_origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    vermas_origin("api")
    monkeypatch.chdir(vermas_origin("other").parent)
    out = vermas("-C", town.root, "rig", "add", "api", "api", "--agent", "script").out
    rig = load(town).rig("api")
    assert (rig.prefix, rig.target, rig.agent, rig.max_polecats) == ("api", "main", "script", 5)
    assert "script" in rig.plugins
    assert "claude" not in rig.plugins
    assert os.path.isabs(rig.origin)
    assert "rigs.api.check" in out, "says that nothing lands without a check"
    assert "rigs.api.options.script.command" in out


def test_prefixes_are_derived_and_unique(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    origin = str(vermas_origin())
    vermas("rig", "add", "w", origin, "--prefix", "web", "--agent", "script")
    vermas("rig", "add", "web", origin, "--agent", "script")
    vermas("rig", "add", "0web", origin, "--agent", "script")
    assert [rig.prefix for rig in load(town).rigs.values()] == ["web", "web2", "web3"]
    assert "taken by rig 'w'" in vermas("rig", "add", "x", origin, "--prefix", "web", "--agent", "script", expect=8).err


def test_a_wrong_origin_changes_nothing(vermas: Vermas, town: Town, vermas_origin: Origin, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")
    (tmp_path / "directory").mkdir()
    good = vermas_origin()
    before = sorted(Path(town.root).rglob("*"))
    wrong = {
        str(tmp_path / "empty"): "no commits",
        str(tmp_path / "directory"): "not a git repository",
        str(tmp_path / "nowhere"): "does not exist",
        "file:///nowhere/at/all": "/nowhere/at/all",
        "--upload-pack=touch x": "an origin is",
        "": "an origin is",
    }
    for origin, says in wrong.items():
        done = vermas("rig", "add", "--agent", "script", "web", "--", origin, expect=None)
        assert done.code == (2 if says == "an origin is" else 6), origin
        assert says in done.err
        assert done.err.count("\n") == 1
    done = vermas("rig", "add", "web", str(good), "--target", "nope", "--agent", "script", expect=6)
    assert "there is main" in done.err
    left = {path for path in Path(town.root).rglob("*") if path.suffix != ".lock" and "town.db" not in path.name}
    assert left <= set(before)
    assert set(os.listdir(town.locks)) <= {"config.lock"}
    assert load(town).rigs == {}


@pytest.mark.parametrize("name", ["..", "a/b", "a b", "a\x1b[2J", "A", "", "x" * 300, ".vermas"])
def test_wrong_names(vermas: Vermas, town: Town, vermas_origin: Origin, name: str) -> None:
    done = vermas("rig", "add", "--", name, str(vermas_origin()), expect=2)
    assert "a rig's name is" in done.err
    assert len(done.err) < 300
    assert "\x1b" not in done.err
    assert sorted(os.listdir(town.root)) == [".vermas", "vermas.toml"]


@pytest.mark.parametrize(
    ("option", "value"), [("--prefix", "A B"), ("--target", "a..b"), ("--agent", "a b"), ("--plugins", "slots,,x"), ("--max", "0")]
)
def test_wrong_options(vermas: Vermas, town: Town, vermas_origin: Origin, option: str, value: str) -> None:
    vermas("rig", "add", "web", str(vermas_origin()), option, value, expect=2)
    assert load(town).rigs == {}


def test_a_missing_plugin_is_named_with_its_cure(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    done = vermas("rig", "add", "web", str(vermas_origin()), "--plugins", PLUGINS + ",kubernetes", expect=5)
    assert "'kubernetes'" in done.err
    assert "pip install" in done.err
    assert "vermas_sandbox_create" in vermas("rig", "add", "web", str(vermas_origin("b")), "--plugins", "slots,script", expect=5).err
    assert not os.path.exists(town.rig_dir("web"))


def test_repeating_completes_but_does_not_change(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    words = ("rig", "add", "web", str(vermas_origin()), "--agent", "script", "--check", "true")
    vermas(*words)
    before = Path(town.set_file).read_text()
    vermas(*words)
    assert Path(town.set_file).read_text() == before
    assert "config set rigs.web.check" in vermas(*words[:-1], "false", expect=8).err
    assert "exists, with origin" in vermas("rig", "add", "web", str(vermas_origin("b")), expect=8).err


def test_a_killed_add_is_completed_by_the_same_words(town: Town, vermas_origin: Origin, vermas: Vermas) -> None:
    """Killed after the repositories were made and before the configuration was written."""
    origin = str(vermas_origin())
    script = (
        "import os, sys; from vermas import git; from vermas.cli import main\n"
        "real = git.create_rig_repositories\n"
        "def create(*args):\n    real(*args)\n    os.kill(os.getpid(), 9)\n"
        "git.create_rig_repositories = create\n"
        "main(sys.argv[1:])"
    )
    words = ["rig", "add", "web", origin, "--agent", "script"]
    assert subprocess.run([sys.executable, "-c", script, *words], check=False).returncode == -9
    assert load(town).rigs == {}
    assert os.path.isdir(town.vault("web"))
    vermas(*words)
    assert load(town).rig("web").target == "main"


def test_a_rig_that_the_user_wrote_gets_its_repositories(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    origin = vermas_origin()
    Path(town.config_file).write_text(f'[rigs.web]\norigin = "{origin}"\nagent = "script"\n')
    vermas("rig", "add", "web", str(origin))
    assert os.path.isdir(town.yard("web"))
    assert not os.path.exists(town.set_file)


def test_a_foreign_directory_is_left_alone(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    Path(town.root, "web").mkdir()
    Path(town.root, "web", "precious.txt").write_text("x")
    assert "exists already" in vermas("rig", "add", "web", str(vermas_origin()), "--agent", "script", expect=8).err
    assert os.listdir(town.rig_dir("web")) == ["precious.txt"]


def test_list_and_show(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    assert vermas("rig", "list").out == "no rigs; add one with `vermas rig add NAME ORIGIN`\n"
    vermas("rig", "add", "web", str(vermas_origin()), "--agent", "script", "--check", "pytest -q")
    assert vermas("rig", "list").out.splitlines()[1].split()[:4] == ["web", "web", "main", "script"]
    assert [rig["name"] for rig in vermas("rig", "list", "--json").json] == ["web"]
    assert vermas("rig", "show", "web", "--json").json["path"] == town.rig_dir("web")
    assert "check         pytest -q\n" in vermas("rig", "show", "web").out
    assert "did you mean 'web'" in vermas("rig", "show", "wob", expect=4).err


def test_remove_keeps_everything(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    words = ("rig", "add", "web", str(vermas_origin()), "--agent", "script")
    vermas(*words)
    kept = vermas("rig", "remove", "web", "--json").json["archived"]
    assert sorted(os.listdir(kept)) == ["repo.git", "yard.git"]
    assert Repository(os.path.join(kept, "yard.git")).resolve("refs/vermas/base/main")
    assert load(town).rigs == {}
    assert not os.path.exists(town.rig_dir("web"))
    assert "no rig named 'web'" in vermas("rig", "remove", "web", expect=4).err
    vermas(*words)


def test_remove_completes_an_interrupted_one(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    vermas("rig", "add", "web", str(vermas_origin()), "--agent", "script")
    os.rename(town.rig_dir("web"), os.path.join(town.archive, "rig-web-x"))
    vermas("rig", "remove", "web")
    assert load(town).rigs == {}


def test_remove_refuses_while_there_is_work(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    vermas("rig", "add", "web", str(vermas_origin()), "--agent", "script")
    store = Store(town.db)
    with store.write() as db:
        polecat = polecats.insert(db, rig="web", bead_id="web-1", slot="slot0", place="local", agent="script", target="main")
    assert "has polecats: p1" in vermas("rig", "remove", "web", expect=8).err
    with store.write() as db:
        polecats.update(db, polecat, gone=1)
        columns = dict.fromkeys(("title", "branch", "base_sha", "target", "actor", "message", "commit_sha"), "x")
        submissions.insert(db, rig="web", bead_id="web-1", polecat_id=polecat, session_no=1, **columns)
    assert "not landed: web-1" in vermas("rig", "remove", "web", expect=8).err
    store.close()
    assert os.path.isdir(town.vault("web"))


def test_remove_refuses_what_the_user_wrote(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    origin = vermas_origin()
    Path(town.config_file).write_text(f'[rigs.web]\norigin = "{origin}"\nagent = "script"\n')
    vermas("rig", "add", "web", str(origin))
    assert f"{town.config_file}:1" in vermas("rig", "remove", "web", expect=3).err
    assert os.path.isdir(town.vault("web"))


def test_a_running_reconciler_keeps_its_rig(vermas: Vermas, town: Town, vermas_origin: Origin) -> None:
    vermas("rig", "add", "web", str(vermas_origin()), "--agent", "script")
    with FileLock(town.rig_lock("web"), "run", blocking=False):
        assert f"vermas run (pid {os.getpid()})" in vermas("rig", "remove", "web", expect=75).err
