"""The README and the other pages: what they tell to type works, what they name exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from vermas import hookspecs
from vermas.cli.app import vermas
from vermas.cli.verbs import EXIT_CODES, VERBS

from .transcript import follow

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
]
COMMAND = re.compile(r"(?:^\$ |`|^    |&& |/)vermas((?: [^`\n|&]*)?)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.fixture
def variables(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A reader with a repository of their own and `vermas` on the PATH."""
    shop = tmp_path / "src/shop"
    shop.mkdir(parents=True)
    (shop / "README.md").write_text("# Shop\n")
    (shop / "tests.sh").write_text("test -s README.md\n")
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Reader\n\temail = reader@example.org\n[init]\n\tdefaultBranch = main\n")
    short = tempfile.mkdtemp(prefix="vt-", dir="/tmp")
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": short,
        "XDG_CACHE_HOME": f"{short}/cache",
        "LANG": "C.UTF-8",
    }
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *words], cwd=shop, env=variables, check=True)
    yield variables
    for socket in Path(short).glob("vermas/*/t"):
        subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True, check=False)
    shutil.rmtree(short)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="the README's first runs are in tmux")
def test_the_readme_can_be_followed(tmp_path: Path, variables: dict[str, str]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    follow(README, work, variables)


def test_the_short_plugin_is_a_plugin() -> None:
    import types

    from vermas.testing.check_plugin import check_plugin

    found = re.search(r"^```python vermas_trees.py\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    module = types.ModuleType("vermas_trees")
    exec(compile(found[1], "vermas_trees.py", "exec"), module.__dict__)
    check_plugin(module)
    assert module.vermas_allocate(["apple"]).name == "cherry"
    assert module.vermas_allocate(["apple", "cherry", "plum"]).why


def test_the_exit_codes_are_those_of_the_core() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", README.read_text(), re.MULTILINE)
    assert {int(code): text.replace("`", "") for code, text in rows} == EXIT_CODES


def commands() -> list[tuple[str, str]]:
    """Every `vermas …` on the pages, with the page's name."""
    return sorted({(page.name, found.strip()) for page in PAGES for found in COMMAND.findall(page.read_text()) if found.strip()})


@pytest.mark.parametrize(("page", "words"), commands())
def test_verbs_and_options_exist(page: str, words: str) -> None:
    group: click.Command = vermas
    context = click.Context(vermas, info_name="vermas")
    options = {option for parameter in vermas.params for option in parameter.opts}
    for word in re.sub(r"'[^']*'|\"[^\"]*\"", "TEXT", words).split():
        name = word.rstrip(".,;:)")
        if isinstance(group, click.Group) and re.fullmatch(r"[a-z][a-z-]*", name):
            below = group.get_command(context, name)
            assert below is not None or (group is vermas and name not in VERBS and page == "writing-plugins.md"), f"vermas {words}"
            if below is None:
                return
            group = below
            options |= {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
        elif name.startswith("-") and name not in ("--help", "-h", "--version", "--", "-"):
            assert name.partition("=")[0] in options or not group.add_help_option, f"vermas {words}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not lost


def test_the_tour_shows_the_agent_that_it_links() -> None:
    assert f"```python\n{(ROOT / 'docs/tour/agent.py').read_text()}```" in (ROOT / "docs/tour.md").read_text()


def test_the_changelog_names_every_hook() -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("vermas_")}
    assert hooks == set(re.findall(r"`(vermas_\w+)`", (ROOT / "CHANGELOG.md").read_text()))
