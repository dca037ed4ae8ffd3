"""What is special about tmux: its server, other people's tmux, names, and how few processes it takes."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from vermas_tmux import Options
from vermas_tmux.client import TmuxError, ask, literal
from vermas_tmux.log import log_path
from vermas_tmux.log import read as read_log
from vermas_tmux.panes import find_pane
from vermas_tmux.server import libtmux_server, socket_of

from vermas.testing.plugin import LaunchFactory, PolecatFactory, RigFactory
from vermas.testing.session_bench import Bench, Running
from vermas.types import Launch, Output

WAITING = ": > ready; exec sleep 60"
TMUX = shutil.which("tmux") or "tmux"


@pytest.fixture
def bench(tmp_path: Path, vermas_rig: RigFactory, vermas_polecat: PolecatFactory, vermas_launch: LaunchFactory) -> Bench:
    return Bench("tmux", {"tmux": Options()}, tmp_path, vermas_rig, vermas_polecat, vermas_launch)


@pytest.fixture
def fake_tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in the place of tmux."""

    def install(script: str) -> None:
        path = tmp_path / "bin" / "tmux"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")

    return install


def tmux(running: Running, *words: str) -> str:
    return ask(running.session.locator["socket"], words).strip()


def pane_id(running: Running) -> str:
    pane = find_pane(running.session.locator["socket"], running.rig.town_id, running.session.id)
    assert pane is not None
    return pane.id


def server_pid(running: Running) -> int:
    return int(tmux(running, "display-message", "-p", "#{pid}"))


def test_the_supervisor_is_the_panes_process(bench: Bench) -> None:
    running = bench.start_ready(WAITING)
    assert int(tmux(running, "display-message", "-p", "-t", pane_id(running), "#{pane_pid}")) == bench.supervisor(running).pid


@pytest.mark.parametrize(
    "argv", [("{program}",), ("sh", "-c", ": > ready; exec sleep 60;")], ids=["one word, else given to a shell", "a semicolon at the end"]
)
def test_argv_is_taken_as_it_is(bench: Bench, argv: tuple[str, ...]) -> None:
    program = bench.tmp_path / "two words; touch pwned"
    program.write_text("#!/bin/sh\n: > ready\nexec sleep 60\n")
    program.chmod(0o755)
    launch = Launch(argv=tuple(word.format(program=program) for word in argv))
    arguments = {**bench.prepare("exit 0"), "launch": launch}
    running = Running(**arguments, session=bench.hooks.vermas_session_start(**arguments))
    bench.wait(running.file("ready").exists, "the program runs")
    assert bench.alive(running)


def test_a_killed_server_ends_its_sessions(bench: Bench) -> None:
    stubborn = "trap '' HUP; : > ready; while :; do sleep 0.05; done"
    sessions = [bench.start_ready(WAITING if number < 3 else stubborn, bench.polecat(f"slot{number}")) for number in range(5)]
    os.kill(server_pid(sessions[0]), signal.SIGKILL)
    for running in sessions:
        assert bench.ended(running).stopped_by == "HUP"
        bench.assert_nothing_left(running)
    assert bench.discover() == []
    again = bench.next_session(sessions[0], ": > ready; exec sleep 61")
    assert bench.discover() == [again.session]


def test_a_start_right_after_the_end_of_the_server(bench: Bench) -> None:
    for number in range(5):
        running = bench.start_ready(WAITING, bench.polecat(f"slot{number}"))
        tmux(running, "kill-server")
    assert bench.alive(bench.start_ready(WAITING, bench.polecat("slot9")))


def test_the_users_configuration_is_not_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    home = bench.tmp_path / "home"
    for place in (home / ".tmux.conf", home / ".config" / "tmux" / "tmux.conf"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(
            f"set -s exit-empty on\nset -g remain-on-exit on\nset -g destroy-unattached on\nset -g default-command 'touch {home}/pwned'\n"
            f"set-hook -g session-created 'run-shell \"touch {home}/pwned\"'\nset -g history-limit 7\n"
        )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    running = bench.start_ready(": > ready; until [ -e go ]; do sleep 0.01; done")
    assert tmux(running, "show-options", "-gv", "history-limit") == "2000"
    assert tmux(running, "show-options", "-gv", "remain-on-exit") == "off"
    running.file("go").touch()
    bench.ended(running)
    assert tmux(running, "list-sessions") == ""
    assert not (home / "pwned").exists()


def test_the_users_own_server_is_left_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(bench.rig.run_dir, "user")
    place.mkdir()
    monkeypatch.setenv("TMUX_TMPDIR", str(place))
    subprocess.run([TMUX, "-f", "/dev/null", "new-session", "-d", "-s", "polecat-app-slot0", "sleep", "60"], check=True)
    monkeypatch.setenv("TMUX", f"{place}/tmux-{os.getuid()}/default,1,0")
    running = bench.start_ready(WAITING)
    bench.stop(running)
    monkeypatch.delenv("TMUX")
    listed = subprocess.run(
        [TMUX, "list-panes", "-a", "-F", "#{session_name} #{pane_current_command}"], capture_output=True, text=True, check=True
    )
    assert listed.stdout == "polecat-app-slot0 sleep\n"


def test_the_servers_environment_is_scrubbed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_TOKEN", "SSH_AUTH_SOCK", "DISPLAY", "CLAUDECODE", "GIT_DIR"):
        monkeypatch.setenv(name, "leaked")
    running = bench.start_ready(WAITING)
    assert "leaked" not in tmux(running, "show-environment", "-g") + tmux(running, "show-environment", "-t", pane_id(running))
    assert b"leaked" not in Path(f"/proc/{server_pid(running)}/environ").read_bytes()


def test_a_title_that_breaks_listings(bench: Bench) -> None:
    running = bench.start_ready("printf '\\033]2;a\\342\\220\\236b|c\\nd\\033\\\\'; : > ready; exec sleep 60")
    bench.wait(lambda: "a" in tmux(running, "display-message", "-p", "-t", pane_id(running), "#{pane_title}"), "the title is set")
    assert bench.alive(running)
    assert bench.discover() == [running.session]


def test_a_renamed_session_is_still_supervised(bench: Bench) -> None:
    running = bench.start_ready("stty raw -echo; : > ready; exec cat > got")
    (session,) = libtmux_server(bench.rig).sessions
    session.rename_session("mine now")
    assert bench.alive(running)
    assert bench.discover() == [running.session]
    assert bench.send(running, "hello").state == "delivered"
    bench.wait(lambda: running.file("got").read_bytes() == b"hello\r", "the message arrived")
    bench.stop(running)
    bench.assert_nothing_left(running)


def test_a_split_by_a_human_survives_and_does_not_block_the_slot(bench: Bench) -> None:
    first = bench.start_ready("until [ -e go ]; do sleep 0.01; done & : > ready; wait")
    tmux(first, "split-window", "-t", pane_id(first), "sleep", "77")
    assert bench.discover() == [first.session]
    first.file("go").touch()
    bench.ended(first)
    second = bench.next_session(first, WAITING)
    assert bench.discover() == [second.session]
    assert "sleep" in tmux(second, "list-panes", "-a", "-f", "#{==:#{@vermas_session},}", "-F", "#{pane_current_command}")


def test_a_dead_pane_that_a_human_kept_does_not_block_the_slot(bench: Bench) -> None:
    first = bench.start_ready("until [ -e go ]; do sleep 0.01; done & : > ready; wait")
    tmux(first, "set-option", "-p", "-t", pane_id(first), "remain-on-exit", "on")
    first.file("go").touch()
    bench.ended(first)
    assert bench.discover() == []
    second = bench.next_session(first, WAITING)
    assert bench.discover() == [second.session]


def test_a_slot_whose_session_lives_is_refused(bench: Bench) -> None:
    first = bench.start_ready(WAITING)
    with pytest.raises(TmuxError, match=rf"cannot start p2-1: {first.session.id} still lives in slot slot0"):
        bench.start(WAITING, bench.polecat())
    assert bench.discover() == [first.session]


def test_a_removed_socket_is_unknown(bench: Bench) -> None:
    running = bench.start_ready(WAITING)
    os.unlink(socket_of(bench.rig))
    seen = bench.observe(running)
    assert (seen.state, "supervisor lives" in seen.why) == ("unknown", True)
    bench.stop(running)
    assert bench.observe(running).state == "gone"
    bench.assert_nothing_left(running)


def test_errors_of_tmux_are_unknown(bench: Bench, fake_tmux: Callable[[str], None]) -> None:
    running = bench.start_ready(WAITING)
    over = bench.start("exit 0", bench.polecat("slot1"))
    bench.ended(over)
    fake_tmux("echo 'protocol version mismatch (client 8, server 7)' >&2; exit 1")
    for one in (running, over):
        seen = bench.observe(one)
        assert (seen.state, "protocol version" in seen.why) == ("unknown", True)
    with pytest.raises(TmuxError, match="protocol version"):
        bench.discover()
    with pytest.raises(TmuxError, match="protocol version"):
        bench.start(WAITING, bench.polecat("slot2"))
    assert bench.send(running, "hello").state == "unknown"
    assert bench.read(over).eof is False
    bench.stop(running)  # by its supervisor: tmux is not needed
    assert bench.processes_of(running) == []


def test_a_hanging_tmux_is_unknown_in_time(bench: Bench, fake_tmux: Callable[[str], None]) -> None:
    running = bench.start_ready(WAITING)
    fake_tmux("exec sleep 60")
    seen = bench.observe(running)
    assert (seen.state, "did not answer within 2 s" in seen.why) == ("unknown", True)


def test_how_few_processes_it_takes(bench: Bench, fake_tmux: Callable[[str], None]) -> None:
    bench.start_ready(WAITING, bench.polecat("slot9"))
    calls = bench.tmp_path / "calls"
    fake_tmux(f'echo "$5" >> \'{calls}\'; exec {TMUX} "$@"')
    sessions = [bench.start_ready("echo hello; : > ready; exec sleep 60", bench.polecat(f"slot{number}")) for number in range(3)]
    assert calls.read_text().split() == ["set-option"] * 3
    calls.write_text("")
    bench.hooks.vermas_session_observe(rig=bench.rig, sessions=[running.session for running in sessions])
    assert calls.read_text().split() == ["list-panes"]
    for running in sessions:
        bench.read_until(running, lambda data: b"hello" in data)
        bench.stop(running)
    assert calls.read_text().split() == ["list-panes"]


def test_a_log_is_trimmed_in_place(bench: Bench) -> None:
    rig = bench.make_rig(name="capped", options={"tmux": Options(log_bytes=64 * 1024)})
    bench.rig = rig
    running = bench.start_ready("head -c 2000000 /dev/zero | tr '\\0' x; : > ready; exec sleep 60", rig=rig)
    path = log_path(running.polecat.home, 1)
    bench.wait(lambda: path.stat().st_size >= 2_000_000, "everything is logged")
    assert bench.alive(running)
    assert path.stat().st_size == 2_000_000
    assert path.stat().st_blocks * 512 <= 128 * 1024
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_end_of_a_log_waits_for_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "output-1.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"one")
        assert read_log(path, 0, 100, lambda: True).eof is False
        writer.write(b"two")
    assert read_log(path, 0, 100, lambda: False).eof is False
    assert read_log(path, 0, 100, lambda: True) == Output(data=b"onetwo", cursor=6, eof=True)


def test_without_a_log_nothing_is_read(bench: Bench) -> None:
    rig = bench.make_rig(name="quiet", options={"tmux": Options(log=False)})
    running = bench.start_ready("echo hello; : > ready; exec sleep 60", rig=rig)
    assert (bench.read(running).data, bench.observe(running).output_bytes) == (b"", None)
    assert tmux(running, "list-panes", "-a", "-F", "#{pane_pipe}") == "0"


def test_a_message_while_a_human_scrolls(bench: Bench) -> None:
    running = bench.start_ready("stty raw -echo; : > ready; exec cat > got")
    tmux(running, "copy-mode", "-t", pane_id(running))
    assert bench.send(running, "hello").state == "delivered"
    bench.wait(lambda: running.file("got").read_bytes() == b"hello\r", "the message and its Enter arrived")
    assert tmux(running, "list-buffers") == ""


def test_a_message_when_input_is_off(bench: Bench) -> None:
    running = bench.start_ready("stty raw -echo; : > ready; exec cat > got")
    tmux(running, "select-pane", "-d", "-t", pane_id(running))
    assert bench.send(running, "hello").state == "rejected"
    tmux(running, "select-pane", "-e", "-t", pane_id(running))
    assert bench.send(running, "hello").state == "delivered"


def test_a_server_that_stops_during_a_message(bench: Bench, fake_tmux: Callable[[str], None]) -> None:
    running = bench.start_ready("stty raw -echo; : > ready; exec cat > got")
    fake_tmux(f'case "$5" in load-buffer) kill -9 $$;; esac; exec {TMUX} "$@"')
    assert bench.send(running, "hello", "k1").state == "unknown"
    fake_tmux(f'exec {TMUX} "$@"')
    assert bench.send(running, "hello", "k1").state == "unknown"
    assert bench.send(running, "other", "k2").state == "delivered"
    bench.wait(lambda: running.file("got").read_bytes() == b"other\r", "only the second message arrived")


def test_attach_shows_the_session(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TMUX", "/tmp/somebody/elses,1,0")
    running = bench.start_ready("echo look at me; : > ready; exec sleep 60")
    argv = bench.hooks.vermas_session_attach(rig=bench.rig, session=running.session)
    master, slave = pty.openpty()
    client = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        shown = b""
        while b"look at me" not in shown:
            shown += os.read(master, 65536)
        bench.wait(lambda: bench.observe(running).attached, "the client is seen")
    finally:
        client.kill()
        client.wait()
        os.close(master)
    bench.wait(lambda: not bench.observe(running).attached, "the client is gone")
    monkeypatch.setenv("TMUX", f"{socket_of(bench.rig)},1,0")
    assert "switch-client" in bench.hooks.vermas_session_attach(rig=bench.rig, session=running.session)


def test_a_socket_path_that_is_too_long(bench: Bench) -> None:
    rig = bench.make_rig(name="long", run_dir=bench.rig.run_dir + "/" + "x" * 100)
    with pytest.raises(TmuxError, match="longer than 107 bytes"):
        bench.start(WAITING, rig=rig)
    (checks,) = bench.hooks.vermas_doctor(rig=rig)
    assert [check.status for check in checks] == ["ok", "error"]


def test_doctor_finds_tmux_missing_or_old(bench: Bench, fake_tmux: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tmux('[ "$1" = -V ] && echo tmux 3.1c')
    (checks,) = bench.hooks.vermas_doctor(rig=bench.rig)
    assert (checks[0].status, "too old" in checks[0].message) == ("error", True)
    monkeypatch.setenv("PATH", "/nonexistent")
    (checks,) = bench.hooks.vermas_doctor(rig=bench.rig)
    assert ["not installed" in check.message for check in checks] == [True]
    with pytest.raises(TmuxError, match="another runtime"):
        bench.start(WAITING)


def test_formats_expand_to_the_same_text(bench: Bench) -> None:
    running = bench.start_ready(WAITING)
    for text in ("a#b", "##", "#{pid}", "#(touch x)", "#S", "#[bold]x", "##[x", "#[#[", "#}", "###{pid}#"):
        assert tmux(running, "display-message", "-p", literal(text)) == text
