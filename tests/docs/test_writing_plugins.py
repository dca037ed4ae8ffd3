"""Everything in docs/writing-plugins.md, as a reader would do it:
in a fresh environment with the wheels of all distributions, without a registry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from vermas.calls import DEADLINES_S

from .transcript import follow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/writing-plugins.md"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


class Environment:
    """A virtual environment with the wheels of this checkout, third-party packages lent by the running one, and nothing else of vermas."""

    def __init__(self, path: Path) -> None:
        self.path = path / "env"
        venv.create(self.path, with_pip=False)
        self.site = next(self.path.glob("lib/python*/site-packages"))
        for distribution in distributions():
            if not distribution.name.startswith("vermas"):
                self._lend(distribution)
        self._script("python -m pytest", "pytest")
        wheels = path / "wheels"
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda source: build(source, path, wheels), [ROOT, *sorted(ROOT.glob("plugins/*/"))]))
        subprocess.run(
            [self.path / "bin/python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", *wheels.glob("*.whl")], check=True
        )

    def _lend(self, distribution: Distribution) -> None:
        for file in distribution.files or ():
            top = file.parts[0]
            target = self.site / top
            if top not in ("..", "__pycache__") and not target.exists():
                target.symlink_to(Path(str(distribution.locate_file(top))))

    def _script(self, command: str, name: str) -> None:
        script = self.path / "bin" / name
        program, *arguments = command.split()
        script.write_text(f'#!/bin/sh\nexec "{self.path}/bin/{program}" {" ".join(arguments)} "$@"\n')
        script.chmod(0o755)


def build(source: Path, path: Path, wheels: Path) -> None:
    """Build the wheel of a copy: setuptools leaves things behind."""
    copy = path / "sources" / source.name
    left = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__")
    apart = {"plugins", "tests", "docs", "benchmarks"} if source == ROOT else set()
    shutil.copytree(source, copy, ignore=lambda folder, names: {*left(folder, names), *(apart if Path(folder) == source else ())})
    wheels.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", BUILD, wheels], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


@pytest.fixture
def variables(tmp_path: Path, environment: Environment) -> Iterator[dict[str, str]]:
    """What the commands run with: a home with a name for git, no registry, short private directories."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Reader\n\temail = reader@example.org\n")
    short = tempfile.mkdtemp(prefix="vt-", dir="/tmp")
    yield {
        "PATH": f"{environment.path}/bin:{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_RUNTIME_DIR": short,
        "XDG_CACHE_HOME": f"{short}/cache",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "false",  # pip reads this as "no isolation"
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTEST_ADDOPTS": "-n 2",
        "LANG": "C.UTF-8",
        "PYTHONWARNINGS": "ignore",
    }
    shutil.rmtree(short)


@pytest.mark.timeout(900)
def test_the_page_can_be_followed(tmp_path: Path, variables: dict[str, str]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    follow(PAGE, work, variables)


def test_the_deadlines_are_those_of_the_core() -> None:
    table = PAGE.read_text().partition("| hooks | deadline |")[2]
    rows = re.findall(r"^\| ([a-z].+?) \| (\d+) s \|$", table, re.MULTILINE)
    shown = {
        f"vermas_{hook}": float(deadline)
        for hooks, deadline in rows
        for hook in re.findall(r"\b[a-z]+(?:_[a-z]+)*\b(?=,| \(| \||$)", hooks)
    }
    assert shown == DEADLINES_S
