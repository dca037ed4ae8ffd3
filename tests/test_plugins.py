"""Entry points from hand-written dist-infos on `sys.path`, and the plugins that are loaded from them."""

from __future__ import annotations

import importlib
import json
import os
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from vermas import hookspecs, plugins
from vermas.errors import ConfigError, PluginError
from vermas.plugins import installed, options

HEADER = "from vermas.hookspecs import hookimpl\nfrom vermas import types\n"
RUNTIME = HEADER + "".join(
    f"@hookimpl\ndef vermas_session_{name}(rig): return None\n" for name in ("start", "observe", "read", "stop", "discover")
)
SANDBOX = HEADER + "".join(
    f"@hookimpl\ndef vermas_sandbox_{name}(rig): return None\n" for name in ("create", "inspect", "snapshot", "remove")
)
REFINERY = HEADER + "".join(f"@hookimpl\ndef vermas_{name}(rig): return None\n" for name in ("candidate", "land"))


class Site:
    """A directory on `sys.path` that distributions are installed into by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cache = path.parent / "cache" / "plugins.json"
        path.mkdir()

    def install(
        self, distribution: str, points: dict[str, str], *, version: str = "1.0", requires: str = "", group: str = "vermas"
    ) -> None:
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: vermas{requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needs}")
        (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items()))

    def module(self, name: str, source: str) -> None:
        (self.path / f"{name}.py").write_text(textwrap.dedent(source))

    def plugin(self, name: str, source: str, **kwargs: Any) -> None:
        """The plugin `name`, in module `acme_NAME` of distribution `acme-NAME`."""
        self.module(f"acme_{name}", source)
        self.install(f"acme-{name}", {name: f"acme_{name}"}, **kwargs)

    def catalog(self) -> plugins.Catalog:
        return plugins.catalog(self.cache)

    def load(self, *names: str, complete: bool = False, **kwargs: Any) -> Any:
        return plugins.load(names, catalog=self.catalog(), complete=complete, **kwargs)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.path))
    yield made
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


def age(*paths: Path) -> None:
    """Make the paths look as if nobody had touched them for a minute."""
    for path in paths:
        stamp = path.stat().st_mtime - 60
        os.utime(path, (stamp, stamp))


@pytest.fixture
def quiet_path(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Only the hand-made directory is on `sys.path` for the catalog, and nothing changed there lately."""
    importlib.import_module("quopri")  # email needs it late in Python 3.13, and finds nothing on such a path
    monkeypatch.setattr(sys, "path", [str(site.path)])
    return site


# What is installed


def test_entry_points_are_read_without_importing(site: Site) -> None:
    site.plugin("boom", "raise RuntimeError('imported')", requires=">=0.1,<0.2")
    (entry,) = site.catalog().offers("boom")
    assert (entry.module, entry.distribution, entry.version, entry.compatible) == ("acme_boom", "acme-boom", "1.0", True)
    assert entry.requires == "<0.2,>=0.1"
    assert "acme_boom" not in sys.modules


def test_commands_of_plugins_are_listed_apart(site: Site) -> None:
    site.install("acme-board", {"board": "acme_board:command"}, group="vermas.commands")
    assert [entry.name for entry in site.catalog().commands() if entry.distribution == "acme-board"] == ["board"]
    assert not site.catalog().offers("board")


def test_the_catalog_is_remembered_and_renewed_when_a_directory_changes(quiet_path: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet_path.install("acme-one", {"one": "acme_one"})
    age(quiet_path.path)
    first = quiet_path.catalog()
    assert quiet_path.cache.exists()
    with monkeypatch.context() as patch:
        patch.setattr(installed, "_scan", lambda: pytest.fail("read again although nothing changed"))
        assert quiet_path.catalog() == first
    quiet_path.install("acme-two", {"two": "acme_two"})
    assert [entry.name for entry in quiet_path.catalog().plugins()] == ["one", "two"]


def test_an_edited_entry_points_file_is_noticed(quiet_path: Site) -> None:
    quiet_path.install("acme-one", {"one": "acme_one"})
    age(quiet_path.path)
    assert quiet_path.catalog().offers("one")
    (points,) = quiet_path.path.glob("*.dist-info/entry_points.txt")
    points.write_text("[vermas]\nuno = acme_one\n")
    assert quiet_path.catalog().offers("uno")


def test_a_directory_that_changes_just_now_is_not_remembered(quiet_path: Site) -> None:
    quiet_path.install("acme-one", {"one": "acme_one"})
    quiet_path.catalog()
    assert not quiet_path.cache.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": 99}',
        b"[" * 100_000,
        b'{"format":1,"vermas":null,"directories":3}',
    ],
)
def test_a_corrupt_cache_is_ignored(quiet_path: Site, content: bytes) -> None:
    quiet_path.install("acme-one", {"one": "acme_one"})
    age(quiet_path.path)
    quiet_path.cache.parent.mkdir()
    quiet_path.cache.write_bytes(content)
    assert quiet_path.catalog().offers("one")
    assert json.loads(quiet_path.cache.read_bytes())["entries"]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(quiet_path: Site) -> None:
    quiet_path.install("acme-one", {"one": "acme_one"})
    age(quiet_path.path)
    quiet_path.cache.parent.write_text("a file where the directory should be")
    assert quiet_path.catalog().offers("one")


def test_without_a_home_nothing_is_remembered(quiet_path: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    quiet_path.install("acme-one", {"one": "acme_one"})
    age(quiet_path.path)
    assert plugins.catalog().offers("one")


def test_a_distribution_further_back_on_the_path_is_shadowed(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Site(tmp_path / "old")
    old.install("acme-one", {"one": "acme_one", "gone": "acme_gone"}, version="0.9")
    site.install("acme-one", {"one": "acme_one"})
    monkeypatch.setattr(sys, "path", [str(site.path), str(old.path)])
    assert [(entry.name, entry.version) for entry in site.catalog().plugins()] == [("one", "1.0")]


def test_metadata_without_a_name_is_passed_over(quiet_path: Site) -> None:
    (quiet_path.path / "broken-1.0.dist-info").mkdir()
    quiet_path.install("acme-one", {"one": "acme_one"})
    assert quiet_path.catalog().offers("one")


def test_what_is_installed_is_known_without_importing_pluggy() -> None:
    import subprocess

    heavy = ("pluggy", "click", "packaging")
    code = f"import sys; from vermas.plugins import catalog; catalog(); print([m for m in {heavy} if m in sys.modules])"
    for _ in range(2):  # the second finds the first one's memory, unless something was installed this very moment
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pluggy" not in shown
    assert "click" not in shown


# Loading


def test_only_the_named_are_imported_and_the_first_listed_is_asked_first(site: Site) -> None:
    for name in ("one", "two", "three"):
        site.plugin(name, HEADER + f"@hookimpl\ndef vermas_allocate(rig): return types.Slot(name={name!r})\n")
    loaded = site.load("two", "one")
    assert [plugin.name for plugin in loaded.implementers("vermas_allocate")] == ["two", "one"]
    call = {"rig": None, "bead": None, "taken": (), "now": 0.0}
    assert loaded.manager.hook.vermas_allocate(**call).name == "two"
    assert loaded.alone("vermas_allocate", loaded.get("one"))(**call).name == "one"
    assert "acme_three" not in sys.modules
    assert loaded.get("one").source == "acme-one 1.0"


def test_an_entry_point_may_name_an_object_in_a_module(site: Site) -> None:
    site.module(
        "acme_objects",
        HEADER + "class Fixed:\n    @hookimpl\n    def vermas_allocate(self, rig): return types.Pending(why='no')\nfixed = Fixed()\n",
    )
    site.install("acme-objects", {"fixed": "acme_objects:fixed"})
    assert site.load("fixed").implementers("vermas_allocate")[0].name == "fixed"


def refused(site: Site, *names: str, **kwargs: Any) -> str:
    with pytest.raises(PluginError) as caught:
        site.load(*names, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_plugin_names_the_nearest_and_how_to_install(site: Site) -> None:
    site.plugin("tmux2", HEADER)
    assert refused(site, "tmux22") == "no plugin named 'tmux22'; did you mean 'tmux2'?; try: pip install vermas-tmux22"
    assert "installed: " in refused(site, "zzzzzz")


def test_a_missing_plugin_of_a_shipped_distribution_names_that(quiet_path: Site) -> None:
    assert refused(quiet_path, "script") == "no plugin named 'script'; installed: none; try: pip install vermas-agents"


def test_two_distributions_with_one_name_are_both_named(site: Site) -> None:
    site.install("acme-a", {"same": "acme_a"})
    site.install("acme-b", {"same": "acme_b"})
    message = refused(site, "same")
    assert "acme-a 1.0" in message
    assert "acme-b 1.0" in message
    assert "pip uninstall acme-" in message


def test_an_incompatible_plugin_is_refused_before_import(site: Site) -> None:
    site.plugin("future", "raise RuntimeError('imported')", requires=">=9")
    message = refused(site, "future")
    assert "acme-future 1.0 needs vermas>=9, this is 0.1.0" in message
    assert "pip install --upgrade acme-future" in message


@pytest.mark.parametrize("requires", [">=0.1,<0.2", "~=0.1.0", "==0.1.*", "!=0.0.9", "", "[default]>=0.1"])
def test_compatible_ranges(site: Site, requires: str) -> None:
    site.plugin("fits", HEADER, requires=requires)
    assert site.load("fits").names == ("fits",)


@pytest.mark.parametrize("requires", ["<0.1", "==0.2", "~=1.0", "!=0.1.0", " not a range"])
def test_incompatible_ranges(site: Site, requires: str) -> None:
    site.plugin("misfit", HEADER, requires=requires)
    assert "needs vermas" in refused(site, "misfit")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ValueError('two\\nlines')", "ValueError: two"),
        ("def (", "SyntaxError: invalid syntax"),
    ],
)
def test_an_import_error_is_one_line(site: Site, source: str, said: str) -> None:
    site.plugin("broken", source)
    message = refused(site, "broken")
    assert message.startswith("plugin 'broken' of acme-broken 1.0 cannot be imported (acme_broken): " + said)


def test_a_missing_attribute_is_an_import_error(site: Site) -> None:
    site.module("acme_x", "")
    site.install("acme-x", {"x": "acme_x:nothing"})
    assert "has no attribute 'nothing'" in refused(site, "x")


def test_a_plugin_listed_twice(site: Site) -> None:
    site.plugin("one", HEADER)
    assert refused(site, "one", "one") == "plugin 'one' is listed twice; remove one of the two"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def vermas_gate(rig): ...", "vermas_gate is not decorated with @hookimpl"),
        ("def vermas_gaet(rig): ...", "vermas_gaet is no hook and not decorated: did you mean vermas_gate?"),
        ("@hookimpl\ndef vermas_gaet(rig): ...", "vermas_gaet is no hook of VerMAS: did you mean vermas_gate?"),
        ("@hookimpl\ndef vermas_gate(*, rig): ...", "vermas_gate takes rig by keyword only"),
        ("@hookimpl\ndef vermas_gate(rig, **rest): ...", "vermas_gate takes **rest by keyword only or as a variable list"),
        ("@hookimpl\ndef vermas_gate(*rig): ...", "vermas_gate takes *rig by keyword only or as a variable list"),
        ("@hookimpl\nasync def vermas_gate(rig): ...", "vermas_gate is async"),
        ("@hookimpl\nasync def vermas_gate(rig): yield", "vermas_gate is async"),
        ("@hookimpl\ndef vermas_gate(rig): yield", "vermas_gate is a generator"),
        ("@hookimpl(wrapper=True)\ndef vermas_gate(rig): return 1", "vermas_gate is a wrapper without a yield"),
        ("@hookimpl\ndef vermas_gate(rigg): ...", "vermas_gate takes rigg, which vermas_gate does not have; did you mean rig?"),
        ("@hookimpl\ndef vermas_gate(zzz): ...", "vermas_gate has: rig, bead, running, now"),
        ("@hookimpl\ndef vermas_gate(rig): ...\n@hookimpl(specname='vermas_gate')\ndef other(rig): ...", "both implement vermas_gate"),
        ("@hookimpl\ndef vermas_session_start(rig): ...", "it implements vermas_session_start but not vermas_session_observe"),
        ("class Options: pass", "Options is not a dataclass"),
    ],
)
def test_implementations_that_pluggy_would_never_call(site: Site, source: str, said: str) -> None:
    site.plugin("wrong", HEADER + source)
    message = refused(site, "wrong")
    assert message.startswith("plugin 'wrong' (acme-wrong 1.0) is broken: ")
    assert said in message


def test_a_plugin_may_have_other_functions_of_its_own(site: Site) -> None:
    site.plugin("free", HEADER + "def vermas_colours(): ...\ndef helper(): yield\nvermas_gate_limit = 3\n")
    assert site.load("free").names == ("free",)


def test_a_hook_may_be_implemented_under_another_name(site: Site) -> None:
    site.plugin("named", HEADER + "@hookimpl(specname='vermas_gate')\ndef my_gate(bead): ...\n")
    assert [plugin.name for plugin in site.load("named").implementers("vermas_gate")] == ["named"]


# Exclusive hooks


def test_none_for_an_exclusive_hook_names_the_hook_and_the_fix(site: Site) -> None:
    site.plugin("sandbox", SANDBOX)
    site.plugin("refine", REFINERY)
    message = refused(site, "sandbox", "refine", complete=True)
    assert message == (
        "no plugin implements vermas_session_start, exactly one must (the rig lists sandbox, refine); add tmux or process to its plugins"
    )


def test_two_for_an_exclusive_hook_names_both_and_the_fix(site: Site) -> None:
    for name, source in {"sandbox": SANDBOX, "refine": REFINERY, "run1": RUNTIME, "run2": RUNTIME}.items():
        site.plugin(name, source)
    message = refused(site, "sandbox", "refine", "run1", "run2", complete=True)
    assert message == (
        "plugins 'run1' (acme-run1 1.0) and 'run2' (acme-run2 1.0) both implement vermas_session_start, exactly one may; "
        "remove one from the rig's plugins, or for one run: -p no:run2"
    )
    names = plugins.apply_overrides(["sandbox", "refine", "run1"], ["no:run1", "run2"])
    assert site.load(*names, complete=True).implementers("vermas_session_start")[0].name == "run2"


def test_a_wrapper_is_no_second_implementation(site: Site) -> None:
    wrapper = HEADER + "@hookimpl(wrapper=True)\ndef vermas_session_start(rig):\n    return (yield)\n"
    for name, source in {"sandbox": SANDBOX, "refine": REFINERY, "run": RUNTIME, "jail": wrapper}.items():
        site.plugin(name, source)
    assert site.load("jail", "sandbox", "refine", "run", complete=True).implementers("vermas_session_start")[0].name == "run"


@pytest.mark.parametrize(
    ("overrides", "result"),
    [
        ([], ["a", "b", "c"]),
        (["no:b"], ["a", "c"]),
        (["x"], ["x", "a", "b", "c"]),
        (["x", "y"], ["x", "y", "a", "b", "c"]),
        (["b"], ["a", "b", "c"]),
        (["no:b", "x"], ["x", "a", "c"]),
        (["no:c", "c"], ["c", "a", "b"]),
        (["x", "no:x"], ["a", "b", "c"]),
        (["no:nothing"], ["a", "b", "c"]),
        (["x", "x"], ["x", "a", "b", "c"]),
    ],
)
def test_overrides(overrides: list[str], result: list[str]) -> None:
    assert list(plugins.apply_overrides(["a", "b", "c"], overrides)) == result


# Former drivers


def test_former_drivers_sit_in_a_second_manager(site: Site) -> None:
    for name in ("run1", "run2"):
        site.plugin(name, RUNTIME)
    now = site.load("run1")
    both = now.with_drivers(["run1", "run2", "gone"])
    assert both.names == ("run1",)
    assert both.former.names == ("run2",)
    assert [plugin.name for plugin in both.implementers("vermas_session_observe")] == ["run1"]
    assert str(both.unavailable["gone"]).startswith("no plugin named 'gone'")
    assert now.with_drivers(["run1"]).former is None


def test_plugins_that_are_not_installed_can_be_given(site: Site) -> None:
    site.module("acme_local", RUNTIME)
    import acme_local  # type: ignore[import-not-found]

    loaded = site.load("local", extra={"local": acme_local})
    assert str(loaded.get("local")) == "'local'"


# Options


@dataclass(frozen=True)
class Limits:
    memory: int = 1
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    command: tuple[str, ...]
    slots: int = 5
    grace_s: float = 1.0
    strict: bool = False
    mode: Literal["fast", "safe"] = "safe"
    log: Path | None = None
    env: dict[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    pair: tuple[int, str] = (1, "x")

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError("slots must be at least 1")


def test_options_are_filled_and_converted() -> None:
    filled = options.fill(
        Options,
        {
            "command": ["sh", "-c", "true"],
            "grace-s": 2,
            "mode": "fast",
            "log": "/tmp/x",
            "env": {"A": "1"},
            "limits": {"names": ["a"]},
            "pair": [2, "y"],
        },
        "acme",
    )
    assert filled == Options(
        command=("sh", "-c", "true"),
        grace_s=2.0,
        mode="fast",
        log=Path("/tmp/x"),
        env={"A": "1"},
        limits=Limits(names=("a",)),
        pair=(2, "y"),
    )
    assert isinstance(filled.grace_s, float)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "option 'command' is required: tuple[str, ...]"),
        ({"comand": []}, "option 'comand' does not exist; did you mean 'command'?"),
        ({"command": [], "zzz": 1}, "option 'zzz' does not exist; there is: command, slots"),
        ({"command": "sh"}, "option 'command' must be a list, not 'sh'"),
        ({"command": ["sh", 3]}, "option 'command[1]' must be a string, not 3"),
        ({"command": [], "slots": True}, "option 'slots' must be an integer, not True"),
        ({"command": [], "slots": 1.5}, "option 'slots' must be an integer, not 1.5"),
        ({"command": [], "slots": 0}, "its options are refused: slots must be at least 1"),
        ({"command": [], "strict": 1}, "option 'strict' must be true or false, not 1"),
        ({"command": [], "mode": "slow"}, "option 'mode' must be one of 'fast', 'safe', not 'slow'"),
        ({"command": [], "log": 3}, "option 'log' must be a path, not 3"),
        ({"command": [], "env": {"A": 1}}, "option 'env.A' must be a string, not 1"),
        ({"command": [], "env": []}, "option 'env' must be a table, not []"),
        ({"command": [], "limits": {"memroy": 1}}, "option 'limits.memroy' does not exist; did you mean 'memory'?"),
        ({"command": [], "limits": {"names": [1]}}, "option 'limits.names[0]' must be a string, not 1"),
        ({"command": [], "pair": [1]}, "option 'pair' must have 2 items, not 1"),
    ],
)
def test_wrong_options_name_plugin_and_key(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options.fill(Options, raw, "acme")
    assert str(caught.value).startswith("plugin 'acme': ")
    assert said in str(caught.value)


def test_options_of_a_rig(site: Site) -> None:
    site.plugin("opted", HEADER + "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Options:\n    slots: int = 5\n")
    site.plugin("plain", HEADER)
    site.plugin("idle", HEADER)
    loaded = site.load("opted", "plain")
    assert loaded.options({"opted": {"slots": 2}, "idle": {"any": 1}})["opted"].slots == 2
    assert loaded.options({})["opted"].slots == 5
    with pytest.raises(ConfigError, match=r"'plain' \(acme-plain 1.0\) has no options, but the rig sets 'x'"):
        loaded.options({"plain": {"x": 1}})
    with pytest.raises(ConfigError, match="a plugin named 'optd', which is not installed; did you mean 'opted'"):
        loaded.options({"optd": {}})


def test_options_that_toml_cannot_fill(site: Site) -> None:
    site.plugin("odd", HEADER + "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Options:\n    when: complex = 1j\n")
    assert "option 'when' has the type <class 'complex'>, which TOML cannot fill" in refused(site, "odd")


def test_the_specification_itself_is_no_plugin() -> None:
    """`hookspecs` holds undecorated functions under the hooks' names: registering it by mistake is refused."""
    with pytest.raises(PluginError, match="not decorated with @hookimpl"):
        plugins.load(["specs"], extra={"specs": hookspecs}, complete=False)
