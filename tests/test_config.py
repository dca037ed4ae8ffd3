from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vermas.config import default_plugins, load, resolve_origin, rig_view
from vermas.configedit import editing, set_value, unset_value
from vermas.configfile import ConfigFile, parse_key, parse_value
from vermas.errors import ConfigError, NotFound, VermasError
from vermas.names import derived_prefix, wrong_branch, wrong_prefix, wrong_rig
from vermas.processes import lock_held
from vermas.town import Town, create

TWO_RIGS = """\
[town]
name = "hq"

[defaults]
plugins = [
    "slots", "worktree",
    "tmux", "claude", "watchdog",
    "refinery",
]
max_polecats = 3
options.script = { prompt = "stdin", env = { A = "1" } }

[rigs.api]
origin = "git@example.org:acme/api.git"
check = "pytest -q"

[rigs.web]
origin = "../web"
prefix = "w"
agent = "script"
max_polecats = 7
env_pass = ["API_KEY"]
options.script.command = ["./agent.sh"]
"""


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return create(tmp_path / "hq")


def write(town: Town, text: str) -> None:
    Path(town.config_file).write_text(text)


def test_layers(town: Town) -> None:
    write(town, TWO_RIGS)
    config = load(town)
    api, web = config.rig("api"), config.rig("web")
    assert config.town.name == "hq"
    assert (api.prefix, api.target, api.check, api.agent, api.max_polecats) == ("api", "main", "pytest -q", "claude", 3)
    assert api.plugins == ("slots", "worktree", "tmux", "claude", "watchdog", "refinery")
    assert (web.prefix, web.max_polecats, web.env_pass) == ("w", 7, ("API_KEY",))
    assert web.options == {"script": {"prompt": "stdin", "env": {"A": "1"}, "command": ["./agent.sh"]}}
    assert web.origin == str(Path(town.root).parent / "web")
    assert api.origin == "git@example.org:acme/api.git"


def test_a_rig_with_its_own_agent_gets_that_plugin(town: Town) -> None:
    write(town, TWO_RIGS)
    assert load(town).rig("web").plugins == ("slots", "worktree", "tmux", "script", "watchdog", "refinery")
    write(town, '[defaults]\nplugins = ["mine"]\n[rigs.a]\norigin = "/a"\nagent = "script"\n')
    assert load(town).rig("a").plugins == ("mine",)
    write(town, '[defaults]\nagent = "script"\n[rigs.a]\norigin = "/a"\n')
    assert load(town).rig("a").plugins == default_plugins("script")


def test_tmux_only_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert default_plugins("claude") == ("slots", "worktree", "process", "claude", "watchdog", "refinery")


def test_what_verbs_set_wins_over_the_users_file(town: Town) -> None:
    write(town, TWO_RIGS)
    before = Path(town.config_file).read_text()
    set_value(town, "rigs.api.check", "tox")
    set_value(town, "defaults.max_polecats", "9")
    config = load(town)
    assert config.rig("api").check == "tox"
    assert config.rig("api").max_polecats == 9
    assert config.rig("web").max_polecats == 7, "what a rig says itself wins over defaults of any file"
    assert Path(town.config_file).read_text() == before
    assert tomllib.loads(Path(town.set_file).read_text()) == {"rigs": {"api": {"check": "tox"}}, "defaults": {"max_polecats": 9}}


def test_unset_brings_the_users_value_back(town: Town) -> None:
    write(town, TWO_RIGS)
    set_value(town, "rigs.web.options.script.timeout_s", "3.5")
    assert load(town).get("rigs.web.options.script.timeout_s") == 3.5
    unset_value(town, "rigs.web.options.script.timeout_s")
    assert tomllib.loads(Path(town.set_file).read_text()) == {}
    with pytest.raises(ConfigError, match="is not set in"):
        unset_value(town, "rigs.web.check")


def test_explain_names_file_and_line(town: Town) -> None:
    write(town, TWO_RIGS)
    set_value(town, "rigs.api.check", "tox")
    sources = load(town).explain("rigs.api.check")
    assert [(source.value, source.where) for source in sources] == [
        ("tox", f"{town.set_file}:3"),
        ("pytest -q", f"{town.config_file}:15"),
        ("", "built in"),
    ]
    assert load(town).explain("rigs.api.plugins")[0].where == f"{town.config_file}:5"
    assert load(town).explain("rigs.web.plugins")[0].where == f"{town.config_file}:5, for agent script"
    assert load(town).explain("rigs.web.options.script.prompt")[0].where == f"{town.config_file}:11"
    assert load(town).explain("rigs.api.target")[0].where == "built in"
    assert load(town).explain("rigs.api.prefix")[0].value == "api"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('[rigs.api]\norigin = "x"\nchek = "y"\n', 3, "unknown key 'chek' in [rigs.api]; did you mean 'check'?"),
        ('# a\n\n[rigz.api]\norigin = "x"\n', 3, "unknown table [rigz]; did you mean 'rigs'?"),
        ('[defaults]\norigin = "x"\n', 2, "unknown key 'origin' in [defaults]"),
        ("[town]\nname = 3\n", 2, 'town.name must be a string, not 3; for the text write it in quotes: "3"'),
        ('[rigs.api]\norigin = "x"\nmax_polecats = true\n', 3, "must be an integer, not true"),
        ('[rigs.api]\norigin = "x"\nmax_polecats = 0\n', 3, "must be 1 to 1000"),
        ('[rigs.api]\norigin = "x"\nplugins = "slots"\n', 3, 'must be an array of strings, not "slots"'),
        ('[rigs.api]\norigin = "x"\nplugins = [\n  "a",\n  "a",\n]\n', 3, "'a' is listed twice"),
        ('[rigs.api]\norigin = "x"\n\n\ntarget = "a..b"\n', 5, "git does not allow this branch name"),
        ('[rigs.api]\norigin = "x"\nprefix = "A"\n', 3, "a bead prefix is"),
        ('[rigs.api]\norigin = "x"\nenv_pass = ["A B"]\n', 3, "not the name of an environment variable"),
        ('[rigs.api]\norigin = "x"\nenv_pass = ["VERMAS_TOWN"]\n', 3, "VerMAS sets"),
        ('[rigs.api]\norigin = "x"\noptions.script = 3\n', 3, "must be a table with one table per plugin"),
        ('[rigs.api]\norigin = "--upload-pack=x"\n', 2, "an origin is"),
        ('\n[rigs.api]\nprefix = "x"\n', 2, "has no origin"),
        ('[rigs."a/b"]\norigin = "x"\n', 1, "a rig's name is"),
        ('rigs.a = { origin = "x", bogus = 1 }\n', 1, "unknown key 'bogus'"),
        ("rigs = 3\n", 1, "must be a table"),
        ("[rigs]\na = 3\n", 2, "must be a table"),
        ('[rigs.a]\norigin = "x"\nprefix = "q"\n[rigs.b]\norigin = "x"\nprefix = "q"\n', 6, "share the bead prefix 'q'"),
        ('[rigs.q]\norigin = "x"\n[rigs.a]\norigin = "x"\nprefix = "q"\n', 1, "share the bead prefix 'q'"),
        ('[town]\nname = "a"\nname = "b"\n', 3, "Cannot overwrite a value"),
        ("<<<<<<< HEAD\n", 1, "Invalid statement"),
        ('[rigs.a]\norigin = """x\n', 3, "Unterminated string"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(town: Town, text: str, line: int, says: str) -> None:
    write(town, text)
    with pytest.raises(ConfigError) as caught:
        load(town)
    message = str(caught.value)
    assert message.startswith(f"{town.config_file}:{line}:")
    assert says in message
    assert "\n" not in message


def test_a_key_like_text_inside_a_string_is_no_key(town: Town) -> None:
    write(town, '[rigs.a]\norigin = "x"\ncheck = """\ntarget = 1\n"""\ntarget = "b c"\n')
    with pytest.raises(ConfigError, match=r"vermas.toml:6: rigs.a.target"):
        load(town)


def test_not_text(town: Town) -> None:
    Path(town.config_file).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(town)


def test_without_any_file(town: Town) -> None:
    Path(town.config_file).unlink()
    assert load(town).rigs == {}
    assert load(town).town.name == "hq"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("rigs.api.chek", "x", "did you mean 'check'"),
        ("rigs.apo.check", "x", "did you mean 'api'"),
        ("rig.api", "x", "did you mean 'rigs'"),
        ("rigs.api.check.x", "x", "has no keys of its own"),
        ("rigs.api.max_polecats", "many", 'must be an integer, not "many"'),
        ("rigs.api.check", "true", 'in quotes: "true"'),
        ("rigs.api.plugins", '["a"', "is not a TOML value"),
        ("rigs.api.plugins", "slots", "must be an array of strings"),
        ("rigs.api.options", "3", "must be a table"),
        ("rigs.api.prefix", "w", "share the bead prefix"),
        ("rigs.api", "x", "must be a table"),
        ("rigs.api.max_polecats", "3\nagent = 'evil'", "must be an integer"),
        ("rigs.api.check = 1\nx", "1", "is not a key"),
        ("", "1", "is not a key"),
        ("a b", "1", "is not a key"),
    ],
)
def test_set_refuses_and_writes_nothing(town: Town, key: str, value: str, says: str) -> None:
    write(town, TWO_RIGS)
    with pytest.raises(VermasError) as caught:
        set_value(town, key, value)
    assert says in str(caught.value)
    assert not Path(town.set_file).exists()


def test_values_as_toml_or_bare(town: Town) -> None:
    assert parse_value("pytest -q") == "pytest -q"
    assert parse_value("3") == 3
    assert parse_value('["a", "b"]') == ["a", "b"]
    assert parse_value('"true"') == "true"
    assert parse_value("") == ""
    assert parse_value("1\nb = 2") == "1\nb = 2"
    assert parse_key('rigs."a.b".check') == ("rigs", "a.b", "check")


def test_concurrent_sets_are_all_kept(town: Town) -> None:
    write(town, TWO_RIGS)
    code = (
        "import sys; from vermas.configedit import set_value; from vermas.town import Town; set_value(Town(sys.argv[1]), sys.argv[2], '4')"
    )
    keys = [f"rigs.web.options.script.k{number}" for number in range(6)]
    running = [subprocess.Popen([sys.executable, "-c", code, town.root, key]) for key in keys]
    assert [process.wait(30) for process in running] == [0] * len(keys)
    assert {key: load(town).get(key) for key in keys} == dict.fromkeys(keys, 4)


def test_one_editor_at_a_time(town: Town) -> None:
    lock = f"{town.locks}/config.lock"
    with editing(town):
        assert lock_held(lock)
    assert not lock_held(lock)


def test_options_are_layered_key_by_key(town: Town) -> None:
    write(town, TWO_RIGS)
    set_value(town, "defaults.options.script.prompt", "argument")
    set_value(town, "rigs.web.options.script.command", '["mine"]')
    assert load(town).rig("web").options["script"] == {"prompt": "argument", "env": {"A": "1"}, "command": ["mine"]}


def test_unknown_rig(town: Town) -> None:
    write(town, TWO_RIGS)
    with pytest.raises(NotFound, match="did you mean 'web'"):
        load(town).rig("wob")


def test_get_and_show(town: Town) -> None:
    write(town, TWO_RIGS)
    config = load(town)
    assert config.get("rigs.web.options.script.command") == ["./agent.sh"]
    assert config.get("rigs.web")["agent"] == "script"
    assert config.get("defaults.agent") == "claude"
    assert config.show()["defaults"]["options"]["script"]["prompt"] == "stdin"
    with pytest.raises(ConfigError, match="is not set"):
        config.get("rigs.web.options.tmux.x")
    with pytest.raises(ConfigError, match="is a table"):
        config.explain("rigs.web")


def test_rig_view(town: Town) -> None:
    write(town, TWO_RIGS)
    rig = rig_view(town, load(town), "web", {"script": 1}, plugins=("a",))
    assert rig.yard == f"{town.root}/web/yard.git"
    assert rig.vault == f"{town.root}/web/repo.git"
    assert rig.run_dir == town.run_dir
    assert (rig.town_id, rig.plugins, rig.options) == (town.id, ("a",), {"script": 1})


def test_origins() -> None:
    assert resolve_origin("../x", "/a/b") == "/a/x"
    for remote in ("https://h/x.git", "host:x/y", "git@h:x", "file:///x"):
        assert resolve_origin(remote, "/a") == remote
    assert resolve_origin("./a:b", "/x") == "/x/a:b"


@pytest.mark.parametrize("name", ["web", "a", "0", "a-b", "x" * 39])
def test_rig_names(name: str) -> None:
    assert not wrong_rig(name)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "A", "-a", "a\n", "a\x1b", "é", ".", "x" * 40, "x" * 300, "a_b", "٣"])
def test_names_that_are_not(name: str) -> None:
    assert wrong_rig(name)
    assert wrong_prefix(name)


@pytest.mark.parametrize(
    "branch",
    [
        *("main", "a/b", "release-1.2", "é", "a@b", "-x", "a..b", "a~b", "/a", "a/", "a//b", "a.", ".a", "x/.a", "a.lock", "a.lock/b"),
        *("@{", "a@{b", "a b", "a\\b", "a*b", "a[b", "a?b", "a:b", "a^b", "a\x7fb", "a\tb", "HEAD", "x/HEAD", "a/-b"),
    ],
)
def test_branch_names_as_git_sees_them(branch: str) -> None:
    allowed = subprocess.run(["git", "check-ref-format", "--branch", branch], capture_output=True, check=False).returncode == 0
    assert (wrong_branch(branch) == "") is allowed


def test_derived_prefixes() -> None:
    assert derived_prefix("web", frozenset()) == "web"
    assert derived_prefix("web", frozenset({"web", "web2"})) == "web3"
    assert derived_prefix("3-d", frozenset()) == "d"
    assert derived_prefix("42", frozenset()) == "rig"
    long = derived_prefix("x" * 39, frozenset({"x" * 20}))
    assert long == "x" * 19 + "2"
    assert not wrong_prefix(long)


def test_where_falls_back_to_the_table() -> None:
    file = ConfigFile.parse("f", "[a]\nb = 1\n")
    assert file.where(("a", "c")) == "f:1"
    assert file.where(("z",)) == "f"
