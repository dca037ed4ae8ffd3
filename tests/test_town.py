from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vermas.errors import Conflict, NotFound, UsageError, VermasError
from vermas.store import Store
from vermas.town import Town, around, choose_run_dir, create, find, poke, refuse_moved, write_text


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = tempfile.mkdtemp(prefix="vt-", dir="/tmp")
    monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
    monkeypatch.delenv("VERMAS_TOWN", raising=False)
    yield Path(directory)
    shutil.rmtree(directory)


def test_create_makes_a_whole_private_town(tmp_path: Path) -> None:
    town = create(tmp_path / "hq")
    assert re.fullmatch("[a-z0-9]{8}", town.id)
    assert stat.S_IMODE(os.stat(town.state).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(town.db).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(town.id_file).st_mode) == 0o600
    for part in (town.sessions, town.archive, town.cache, town.locks):
        assert stat.S_IMODE(os.stat(part).st_mode) == 0o700
    assert 'name = "hq"' in Path(town.config_file).read_text()
    assert Store(town.db).read.execute("SELECT value FROM meta WHERE key = 'town_id'").fetchone()[0] == town.id


def test_create_again_changes_nothing(tmp_path: Path) -> None:
    first = create(tmp_path, "hq")
    Path(first.config_file).write_text('[town]\nname = "mine"\n')
    before = first.id
    assert create(tmp_path).id == before
    assert "mine" in Path(first.config_file).read_text()


@pytest.mark.parametrize("step", ["town-id", "town.db", "vermas.toml", "locks"])
def test_create_completes_an_interrupted_one(tmp_path: Path, step: str) -> None:
    """Whatever is missing beside the last step, the id in the database stays the town's."""
    town = create(tmp_path / "hq")
    before = town.id
    os.unlink(town.id_file)
    if step == "locks":
        os.rmdir(town.locks)
    elif step != "town-id":
        os.unlink(town.config_file if step == "vermas.toml" else town.db)
    again = create(tmp_path / "hq")
    assert os.path.isdir(again.locks)
    assert os.path.exists(again.config_file)
    meta = Store(again.db).read.execute("SELECT value FROM meta WHERE key = 'town_id'").fetchone()[0]
    assert again.id == meta
    assert (again.id == before) is (step != "town.db")


def test_concurrent_creates_make_one_town(tmp_path: Path) -> None:
    code = "import sys; from vermas.town import create; print(create(sys.argv[1]).id)"
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "hq")], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    ids = {process.communicate(timeout=30)[0].strip() for process in running}
    assert ids == {Town(tmp_path / "hq").id}


def test_towns_do_not_nest(tmp_path: Path) -> None:
    create(tmp_path / "hq")
    with pytest.raises(Conflict, match="inside the town"):
        create(tmp_path / "hq" / "deep" / "er")
    assert not (tmp_path / "hq" / "deep").exists()


@pytest.mark.parametrize("name", ['a"b', "a\nb", "a\\b", "\x1b[2J"])
def test_names_that_would_break_the_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        create(tmp_path / "hq", name)
    assert not (tmp_path / "hq").exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "hq").write_text("")
    with pytest.raises(VermasError, match="cannot make a town"):
        create(tmp_path / "hq")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(VermasError, match="Permission denied"):
        create(tmp_path / "hq")
    tmp_path.chmod(0o700)


def test_find_walks_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    town = create(tmp_path / "hq")
    deep = tmp_path / "hq" / "web" / "polecats" / "slot0"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find() == town


def test_find_prefers_the_argument_then_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, named, given = (create(tmp_path / name) for name in ("here", "named", "given"))
    monkeypatch.chdir(here.root)
    monkeypatch.setenv("VERMAS_TOWN", named.root)
    assert find() == named
    assert find(given.root) == given


def test_find_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VermasError, match="vermas init"):
        find()
    with pytest.raises(VermasError, match=r"--town says .*not a town"):
        find(tmp_path)
    monkeypatch.setenv("VERMAS_TOWN", str(tmp_path / "gone"))
    with pytest.raises(VermasError, match="VERMAS_TOWN says"):
        find()
    (tmp_path / ".vermas").mkdir()
    with pytest.raises(VermasError, match="interrupted"):
        find(tmp_path)
    with pytest.raises(NotFound):
        _ = Town(tmp_path).id


def test_a_link_to_a_town_is_the_town(tmp_path: Path) -> None:
    town = create(tmp_path / "hq")
    (tmp_path / "link").symlink_to("hq")
    assert find(tmp_path / "link") == town
    assert around(str(tmp_path / "link")) == town


def test_a_town_is_a_value(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        Town(tmp_path).root = "x"
    assert {Town(tmp_path), Town(str(tmp_path) + "/.")} == {Town(tmp_path)}


def test_layout(tmp_path: Path) -> None:
    town = Town(tmp_path)
    root = os.path.realpath(tmp_path)
    assert town.checkout("web", "slot0") == f"{root}/web/polecats/slot0/web"
    assert town.home("web", "slot0", "p7") == f"{root}/web/polecats/slot0/.p7"
    assert town.session_lock("p7") == f"{root}/.vermas/sessions/p7.lock"
    assert town.issues("web") == f"{root}/web/.beads/issues.jsonl"


def test_the_run_directory_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    town = create(tmp_path / "hq")
    assert town.run_dir == f"{short}/vermas/{town.id}"
    assert stat.S_IMODE(os.stat(town.run_dir).st_mode) == 0o700
    before = town.run_dir
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert town.run_dir == before


def test_a_vanished_run_directory_is_made_again(tmp_path: Path, short: Path) -> None:
    town = create(tmp_path / "hq")
    shutil.rmtree(Path(town.run_dir).parent)
    assert os.path.isdir(town.run_dir)


def test_a_run_directory_of_others_is_refused(tmp_path: Path) -> None:
    town = create(tmp_path / "hq")
    os.chmod(town.run_dir, 0o755)
    with pytest.raises(VermasError, match="mode 0700"):
        _ = town.run_dir


def test_a_linked_run_directory_is_refused(tmp_path: Path, short: Path) -> None:
    town = create(tmp_path / "hq")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (short / "vermas").mkdir(mode=0o700)
    (short / "vermas" / town.id).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VermasError, match="mode 0700"):
        _ = town.run_dir


def test_the_run_directory_fits_a_socket_address(tmp_path: Path) -> None:
    uid = os.geteuid()
    deep = tmp_path / ("d" * 100)
    deep.mkdir(mode=0o700)
    assert choose_run_dir("abcd1234", {"XDG_RUNTIME_DIR": str(deep), "TMPDIR": str(deep)}) == f"/tmp/vermas-{uid}/abcd1234"
    assert choose_run_dir("abcd1234", {"XDG_RUNTIME_DIR": "/"}) == f"/tmp/vermas-{uid}/abcd1234"
    assert choose_run_dir("abcd1234", {"TMPDIR": str(tmp_path / "x")}) == f"/tmp/vermas-{uid}/abcd1234"


def test_poke_wakes_who_listens(tmp_path: Path) -> None:
    town = create(tmp_path / "hq")
    assert not poke(town, "web")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(town.poke_socket("web"))
        assert poke(town, "web")
        assert listener.recv(100) == b"poke"
        for _ in range(1000):
            assert poke(town, "web"), "a full queue is no reason to wait"
    assert not poke(town, "web")


def test_a_moved_town_says_so(tmp_path: Path) -> None:
    town = create(tmp_path / "hq")
    refuse_moved(town, Store(town.db).read)
    (tmp_path / "hq").rename(tmp_path / "moved")
    moved = find(tmp_path / "moved")
    with pytest.raises(Conflict, match=r"moved from .*hq .*doctor --fix"):
        refuse_moved(moved, Store(moved.db).read)


def test_a_copied_town_is_told_from_a_moved_one(tmp_path: Path) -> None:
    create(tmp_path / "hq")
    shutil.copytree(tmp_path / "hq", tmp_path / "copy")
    copy = find(tmp_path / "copy")
    with pytest.raises(Conflict, match="copy of the town"):
        refuse_moved(copy, Store(copy.db).read)


def test_write_text_replaces_or_leaves(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(str(path), "one")
    with pytest.raises(UnicodeEncodeError):
        write_text(str(path), "\udcff")
    assert path.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
