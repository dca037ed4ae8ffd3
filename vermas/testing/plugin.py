"""The pytest plugin of VerMAS: real repositories, rigs, polecats and launches for tests of plugins.

Loaded in every pytest run where `vermas` is installed, so it imports nothing of weight before a fixture is used. All fixtures are
factories; what they make lies under `tmp_path`, and at the end of the test every process of their towns is ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

if TYPE_CHECKING:
    import pluggy

    from vermas.testing.town import Town
    from vermas.types import Launch, Polecat, Rig

pytest.register_assert_rewrite(
    "vermas.testing.session_bench",
    "vermas.testing.session_contract",
    "vermas.testing.session_ending",
    "vermas.testing.session_finding",
    "vermas.testing.session_messages",
    "vermas.testing.session_output",
    "vermas.testing.session_starting",
    "vermas.testing.sandbox_bench",
    "vermas.testing.sandbox_contract",
    "vermas.testing.sandbox_creating",
    "vermas.testing.sandbox_hostile",
    "vermas.testing.sandbox_looking",
    "vermas.testing.sandbox_removing",
    "vermas.testing.sandbox_saving",
    "vermas.testing.agent_contract",
    "vermas.testing.allocate_contract",
    "vermas.testing.contracts",
)

T = TypeVar("T")


class OriginFactory(Protocol):
    r"""`(name="origin", files={"README.md": "hello\n"}, bare=True)` makes a repository with one commit on `main`."""

    def __call__(self, name: str = ..., files: Mapping[str, str | bytes] | None = ..., bare: bool = ...) -> Path: ...


class RigFactory(Protocol):
    """`(**overrides)` makes a rig: keywords are fields of `vermas.types.Rig`; another `town` (a directory) is another town."""

    def __call__(self, **overrides: Any) -> Rig: ...


class PolecatFactory(Protocol):
    """`(rig, slot="slot0", number=None, session_no=1, **bead_fields)` makes a polecat and its directories, but no checkout."""

    def __call__(self, rig: Rig, slot: str = ..., number: int | None = ..., session_no: int = ..., **bead_fields: Any) -> Polecat: ...


class LaunchFactory(Protocol):
    """`(rig, polecat, argv, env=None, stdin=None)` makes what the core hands to a runtime: `argv` under the supervisor."""

    def __call__(
        self, rig: Rig, polecat: Polecat, argv: list[str], env: Mapping[str, str] | None = ..., stdin: Path | None = ...
    ) -> Launch: ...


class Wait(Protocol):
    """`(predicate, deadline_s=10)` waits until `predicate()` is true and returns its value, or fails."""

    def __call__(self, predicate: Callable[[], T], deadline_s: float = ...) -> T: ...


@pytest.fixture
def vermas_origin(tmp_path: Path) -> OriginFactory:
    """A factory of origin repositories: `vermas_origin("name", {"path": "content"}, bare=True)`."""
    from vermas.testing.town import make_repository

    def make(name: str = "origin", files: Mapping[str, str | bytes] | None = None, bare: bool = True) -> Path:
        return make_repository(tmp_path / "origins" / name, {"README.md": "hello\n"} if files is None else files, bare=bare)

    return make


@pytest.fixture
def vermas_rig(tmp_path: Path, vermas_origin: OriginFactory) -> Iterator[RigFactory]:
    """A factory of rigs with real yard and vault, by default of one town under `tmp_path`; ends every process of its towns afterwards."""
    from vermas.testing.town import Town

    towns: dict[Path, Town] = {}

    def make(**overrides: Any) -> Rig:
        place = Path(overrides.get("town", tmp_path / "town"))
        town = towns.get(place) or towns.setdefault(place, Town(place))
        given = overrides.get("origin")
        origin = Path(given) if given else vermas_origin(f"{town.id}-{overrides.get('name', 'app')}")
        return town.rig(origin, overrides)

    yield make
    for town in towns.values():
        town.close()


@pytest.fixture
def vermas_base() -> Callable[[Rig], str]:
    """`vermas_base(rig)` is the full name of the commit at the origin's target; it is in the rig's vault and yard."""
    from vermas.testing.town import git

    def resolve(rig: Rig) -> str:
        return git(rig.vault, "rev-parse", "--verify", f"refs/vermas/base/{rig.target}^{{commit}}")

    return resolve


@pytest.fixture
def vermas_polecat() -> PolecatFactory:
    """A factory of polecats: `vermas_polecat(rig, "slot3", title="Fix it")`. Ids count up within the test unless `number` is given."""
    from vermas.testing.town import make_polecat

    numbers: dict[str, int] = {}

    def make(rig: Rig, slot: str = "slot0", number: int | None = None, session_no: int = 1, **bead_fields: Any) -> Polecat:
        chosen = numbers.get(rig.town_id, 0) + 1 if number is None else number
        numbers[rig.town_id] = max(numbers.get(rig.town_id, 0), chosen)
        return make_polecat(rig, slot, chosen, session_no, bead_fields)

    return make


@pytest.fixture
def vermas_launch() -> LaunchFactory:
    """A factory of launches: `vermas_launch(rig, polecat, ["sh", "-c", "exit 7"], env={...}, stdin=path)`."""
    from vermas.testing.town import make_launch

    def make(rig: Rig, polecat: Polecat, argv: list[str], env: Mapping[str, str] | None = None, stdin: Path | None = None) -> Launch:
        return make_launch(rig, polecat, argv, env or {}, stdin)

    return make


@pytest.fixture
def vermas_hooks() -> Callable[[str], pluggy.HookRelay]:
    """`vermas_hooks("tmux")` is the hooks of one installed plugin alone, called with keywords: `hooks.vermas_session_discover(rig=rig)`."""
    from vermas.testing.loading import hooks_of

    return hooks_of


@pytest.fixture
def vermas_wait() -> Wait:
    """Wait for an event instead of sleeping: `vermas_wait(lambda: path.exists())`."""

    def wait(predicate: Callable[[], T], deadline_s: float = 10.0) -> T:
        end = time.monotonic() + deadline_s
        while not (value := predicate()):
            if time.monotonic() > end:
                pytest.fail(f"still not so after {deadline_s:g} s: last value {value!r}")
            time.sleep(0.005)
        return value

    return wait
