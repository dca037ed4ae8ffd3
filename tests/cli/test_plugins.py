"""`vermas plugins` and `vermas plugin new`, typed in a town; the plugins lie in a hand-made directory on `sys.path`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vermas.town import Town

HEADER = "from vermas.hookspecs import hookimpl\n"
GATE = HEADER + "@hookimpl\ndef vermas_gate(rig): ...\n"
JAIL = HEADER + "@hookimpl(wrapper=True)\ndef vermas_gate(rig):\n    return (yield)\n"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(name, source, version="1.0", distribution="acme-NAME", requires="")`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(name: str, source: str, *, version: str = "1.0", distribution: str = "", requires: str = "") -> None:
        distribution = distribution or f"acme-{name}"
        (site / f"acme_{name}.py").write_text(source)
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: vermas{requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}")
        (info / "entry_points.txt").write_text(f"[vermas]\n{name} = acme_{name}\n")

    yield put
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


def configure(town: Town, **rigs: list[str]) -> None:
    """Write rigs with their plugin lists into the town's configuration."""
    tables = [f'[rigs.{name}]\norigin = "/nowhere"\nprefix = "{name}"\nplugins = {names!r}\n' for name, names in rigs.items()]
    Path(town.config_file).write_text('[town]\nname = "hq"\n' + "".join(tables))


def by_name(listed: Any, name: str) -> Any:
    return next(one for one in listed["plugins"] if one["name"] == name)


def test_installed_and_active_plugins_are_listed(vermas: Any, town: Town, install: Install) -> None:
    install("quiet", GATE, requires=">=0.1")
    install("idle", "raise RuntimeError('imported')")
    configure(town, web=["quiet"], api=["quiet"])
    listed = vermas("plugins", "--json").json
    quiet, idle = by_name(listed, "quiet"), by_name(listed, "idle")
    assert (quiet["distribution"], quiet["version"], quiet["rigs"]) == ("acme-quiet", "1.0", ["web", "api"])
    assert (quiet["hooks"], quiet["requires"]) == (["vermas_gate"], ">=0.1")
    assert (idle["rigs"], idle["hooks"], idle["error"]) == ([], None, "")
    shown = vermas("plugins").out
    assert "web, api" in shown
    assert "(not active)" in shown
    assert "rig web cannot run: no plugin implements vermas_sandbox_create" in shown


def test_plugins_that_no_rig_names_are_imported_on_request(vermas: Any, town: Town, install: Install) -> None:
    install("quiet", GATE)
    install("broken", "import no_such_module_anywhere")
    listed = vermas("plugins", "--load", "--json").json
    assert by_name(listed, "quiet")["hooks"] == ["vermas_gate"]
    assert "no_such_module_anywhere" in by_name(listed, "broken")["error"]
    assert "error: plugin 'broken' of acme-broken 1.0 cannot be imported" in vermas("plugins", "--load").out


def test_a_hook_shows_who_is_asked_in_order(vermas: Any, town: Town, install: Install) -> None:
    for name, source in {"one": GATE, "two": GATE, "jail": JAIL}.items():
        install(name, source)
    configure(town, web=["two", "jail", "one"], api=["one", "two"])
    listed = vermas("plugins", "--hook", "gate", "--json").json
    assert {rig["rig"]: rig["hooks"] for rig in listed["rigs"]} == {
        "web": {"vermas_gate": ["two", "one"]},
        "api": {"vermas_gate": ["one", "two"]},
    }
    assert [(one["name"], one["wraps"]) for one in listed["plugins"]] == [("two", []), ("jail", ["vermas_gate"]), ("one", [])]
    assert "rig web: two, one\n" in vermas("plugins", "--hook", "vermas_gate").out


def test_one_rig(vermas: Any, town: Town, install: Install) -> None:
    install("one", GATE)
    install("two", GATE)
    configure(town, web=["two"], api=["one"])
    assert [one["name"] for one in vermas("plugins", "--rig", "web", "--json").json["plugins"]] == ["two"]
    assert "did you mean 'web'" in vermas("plugins", "--rig", "wbe", expect=4).err


def test_what_is_missing_broken_or_clashing_is_named(vermas: Any, town: Town, install: Install) -> None:
    install("same", GATE, distribution="acme-a")
    install("same", GATE, distribution="acme-b")
    install("future", GATE, requires=">=9")
    configure(town, web=["same", "gone", "future"])
    listed = vermas("plugins", "--json").json
    assert "pip install vermas-gone" in by_name(listed, "gone")["error"]
    assert "needs vermas>=9" in by_name(listed, "future")["error"]
    assert sorted(one["distribution"] for one in listed["plugins"] if one["name"] == "same") == ["acme-a", "acme-b"]
    assert "offered by 2 distributions" in by_name(listed, "same")["error"]
    assert listed["rigs"][0]["error"]


def test_an_unknown_hook_names_the_nearest(vermas: Any, town: Town) -> None:
    assert vermas("plugins", "--hook", "gaet", expect=4).err == "vermas: no hook named 'gaet'; did you mean 'gate'?\n"


def test_outside_a_town_the_installed_ones_are_listed(
    vermas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Install
) -> None:
    install("quiet", GATE)
    monkeypatch.chdir(tmp_path)
    assert by_name(vermas("plugins", "--json").json, "quiet")["rigs"] == []
    vermas("plugins", "--rig", "web", expect=1)


# plugin new


def test_a_new_runtime_is_a_whole_distribution(vermas: Any, town: Town) -> None:
    made = vermas("plugin", "new", "back-ground", "--kind", "runtime", "--json").json
    root = Path(made["directory"])
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == [
        "README.md",
        "pyproject.toml",
        "src/vermas_back_ground/__init__.py",
        "src/vermas_back_ground/py.typed",
        "tests/test_back_ground.py",
    ]
    assert 'back-ground = "vermas_back_ground"' in (root / "pyproject.toml").read_text()
    assert '"vermas>=0.1,<0.2"' in (root / "pyproject.toml").read_text()
    assert not [path for path in root.rglob("*") if path.is_file() and "$name" in path.read_text()]


@pytest.mark.parametrize("name", ["Tmux", "a/b", "../x", "-x", "x-", "1x", "a b", "x" * 41, "a--b", "ü", "x\n", ""])
def test_names_that_cannot_be_one(vermas: Any, town: Town, name: str) -> None:
    done = vermas("plugin", "new", "--kind", "runtime", "--", name, expect=2)
    assert "cannot be the name of a plugin" in done.err
    assert "\n" not in done.err[:-1]


def test_nothing_is_overwritten(vermas: Any, town: Town, tmp_path: Path) -> None:
    vermas("plugin", "new", "mine", "--kind", "runtime", "--into", str(tmp_path / "new"))
    assert "exists already" in vermas("plugin", "new", "mine", "--kind", "runtime", "--into", str(tmp_path / "new"), expect=8).err
    (tmp_path / "file").write_text("")
    vermas("plugin", "new", "mine", "--kind", "runtime", "--into", str(tmp_path / "file"), expect=None)


def test_the_kinds_are_said(vermas: Any, town: Town) -> None:
    assert "runtime" in vermas("plugin", "new", "mine", "--kind", "engine", expect=2).err


def test_what_is_written_passes_the_linters(vermas: Any, town: Town) -> None:
    pytest.importorskip("ruff")
    root = vermas("plugin", "new", "mine", "--kind", "runtime", "--json").json["directory"]
    config = Path(__file__).parents[2] / "pyproject.toml"
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--config", str(config), root], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
