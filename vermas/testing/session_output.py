"""`SessionContract`, part 3: reading what a session prints."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import replace
from typing import Any

import pytest

from vermas.testing.fresh import call_in_fresh_process
from vermas.testing.session_bench import Bench, Running

#: No change of bytes by the terminal, when there is one.
RAW = "stty -opost -echo 2>/dev/null;"


class OutputCases:
    """Output: every byte, in order, from any cursor, also after the end; what was dropped is said to be."""

    keeps_output: bool
    capped_options: Any
    capped_bytes: int

    def test_output_of_a_live_session(self, bench: Bench) -> None:
        """What the agent has printed is readable while it lives, without `eof`."""
        running = bench.start_ready(f"{RAW} echo one; echo two; : > ready; exec sleep 60")
        assert bench.read_until(running, lambda data: data.endswith(b"two\n")) == b"one\ntwo\n"
        assert bench.read(running, cursor=8).eof is False

    def test_output_of_an_ended_session(self, bench: Bench) -> None:
        """Everything is readable after the end, up to `eof`, any number of times."""
        self._needs_kept_output()
        running = bench.start(f"{RAW} echo one; echo two; exit 7")
        bench.ended(running)
        for _ in range(2):
            assert _whole(bench, running) == b"one\ntwo\n"

    def test_errors_are_output(self, bench: Bench) -> None:
        """Standard error is kept with standard output, in order."""
        self._needs_kept_output()
        running = bench.start(f"{RAW} echo one; echo two >&2; echo three")
        assert _whole(bench, running) == b"one\ntwo\nthree\n"

    def test_ten_megabytes(self, bench: Bench) -> None:
        """10 MB are read back byte for byte, in pieces no larger than asked for."""
        self._needs_kept_output()
        content = b"".join(b"%09d a line of ordinary length, as agents print them all day long\n" % number for number in range(140_000))
        source = bench.tmp_path / "content"
        source.write_bytes(content)
        running = bench.start(f"{RAW} cat '{source}'")
        pieces = bench.read_to_end(running, limit_bytes=300_000)
        assert max(len(piece.data) for piece in pieces) <= 300_000
        assert not any(piece.gap for piece in pieces)
        data = b"".join(piece.data for piece in pieces)
        assert (len(data), hashlib.sha256(data).digest()) == (len(content), hashlib.sha256(content).digest())

    def test_every_byte_value(self, bench: Bench) -> None:
        """NUL, control characters, invalid UTF-8: bytes are bytes."""
        self._needs_kept_output()
        content = bytes(byte for byte in range(256) if byte != 0x1B) * 3
        source = bench.tmp_path / "content"
        source.write_bytes(content)
        running = bench.start(f"{RAW} cat '{source}'")
        assert _whole(bench, running) == content

    def test_a_split_character(self, bench: Bench) -> None:
        """The first byte of a character is readable before the second is printed."""
        running = bench.start(f"{RAW} printf '\\303'; until [ -e go ]; do sleep 0.01; done; printf '\\251'; exec sleep 60")
        assert bench.read_until(running, lambda data: len(data) >= 1) == b"\xc3"
        running.file("go").touch()
        assert bench.read_until(running, lambda data: len(data) >= 1, cursor=1) == b"\xa9"

    def test_no_trailing_newline(self, bench: Bench) -> None:
        """The last bytes count, newline or not, also when the program ends right behind them."""
        self._needs_kept_output()
        for number in range(5):
            running = bench.start(f"{RAW} printf 'one\\ntwo {number}'", bench.polecat(f"slot{number}"))
            assert _whole(bench, running) == b"one\ntwo %d" % number

    def test_nothing_printed(self, bench: Bench) -> None:
        """A silent session reads as empty, not as an error."""
        self._needs_kept_output()
        running = bench.start("exit 0")
        assert _whole(bench, running) == b""

    def test_cursors_only_go_on(self, bench: Bench) -> None:
        """Reading in small pieces while it is printed: cursors never go back and nothing is skipped or repeated."""
        script = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; exec sleep 60"
        running = bench.start(f"{RAW} {script}")
        cursor, data = 0, b""
        while not data.endswith(b"line 199\n"):
            piece = bench.read(running, cursor, limit_bytes=17)
            assert len(piece.data) <= 17
            assert piece.gap is False
            assert piece.cursor == cursor + len(piece.data)
            cursor, data = piece.cursor, data + piece.data
            assert len(data) < 10_000
        assert data == b"".join(b"line %d\n" % number for number in range(200))

    def test_the_same_cursor_reads_the_same(self, bench: Bench) -> None:
        """Reading takes nothing away."""
        running = bench.start(f"{RAW} echo 0123456789; exec sleep 60")
        bench.read_until(running, lambda data: data.endswith(b"9\n"))
        assert bench.read(running, 3, 4).data == bench.read(running, 3, 4).data == b"3456"

    def test_a_negative_cursor_counts_from_the_end(self, bench: Bench) -> None:
        """-4 reads the last four bytes; more than there is reads all, without a gap."""
        running = bench.start(f"{RAW} echo 0123456789; exec sleep 60")
        bench.read_until(running, lambda data: data.endswith(b"9\n"))
        tail = bench.read(running, -4)
        assert (tail.data, tail.cursor, tail.gap) == (b"789\n", 11, False)
        everything = bench.read(running, -1000)
        assert (everything.data, everything.cursor, everything.gap) == (b"0123456789\n", 11, False)

    def test_a_cursor_beyond_the_end(self, bench: Bench) -> None:
        """Nothing is there yet: no bytes, no error, and the cursor does not go back."""
        running = bench.start(f"{RAW} echo 0123456789; exec sleep 60")
        bench.read_until(running, lambda data: data.endswith(b"9\n"))
        beyond = bench.read(running, 1000)
        assert (beyond.data, beyond.cursor) == (b"", 1000)

    def test_the_total_is_observed(self, bench: Bench) -> None:
        """`output_bytes` is the total that the session has printed, when the runtime says it at all."""
        running = bench.start(f"{RAW} echo 0123456789; exec sleep 60")
        bench.read_until(running, lambda data: data.endswith(b"9\n"))
        assert bench.observe(running).output_bytes in (11, None)

    def test_a_capped_log_says_what_is_missing(self, bench: Bench) -> None:
        """With a size cap: the start is dropped with `gap`, cursors stay absolute, and what is read is exactly what was printed there."""
        if self.capped_options is None:
            pytest.skip("this runtime declares that it keeps all output")
        bench.rig = bench.make_rig(name="capped", options={bench.plugin: self.capped_options})
        content = b"".join(b"%09d ordinary line\n" % number for number in range(self.capped_bytes // 4))
        source = bench.tmp_path / "content"
        source.write_bytes(content)
        running = bench.start_ready(f"{RAW} cat '{source}'; : > ready; exec sleep 60")
        bench.wait(lambda: bench.read(running, -1).cursor >= len(content), "everything is logged")
        assert bench.alive(running)
        piece = bench.read(running, 0, limit_bytes=len(content))
        assert piece.gap is True
        assert len(piece.data) <= 2 * self.capped_bytes
        assert content[piece.cursor - len(piece.data) : piece.cursor] == piece.data
        assert bench.read(running, -1000).data == content[-1000:]
        assert bench.read(running, len(content) - 500, 100).data == content[-500:-400]
        assert bench.read(running, len(content) - 500, 100).gap is False

    def test_output_from_a_fresh_process(self, bench: Bench) -> None:
        """The handle is all that is needed."""
        running = bench.start(f"{RAW} echo one; exec sleep 60")
        bench.read_until(running, lambda data: data == b"one\n")
        output = call_in_fresh_process(bench.plugin, "session_read", rig=running.rig, session=running.session, cursor=0, limit_bytes=100)
        assert (output.data, output.cursor) == (b"one\n", 4)

    def test_a_stale_handle_reads_its_own_session(self, bench: Bench) -> None:
        """Session 1 reads as session 1 while session 2 runs in its place."""
        self._needs_kept_output()
        first = bench.start(f"{RAW} echo first")
        bench.ended(first)
        second = bench.next_session(first, f"{RAW} echo second; : > ready; exec sleep 60")
        bench.read_until(second, lambda data: data == b"second\n")
        assert _whole(bench, first) == b"first\n"

    def test_reading_a_session_never_started(self, bench: Bench) -> None:
        """No output, at once."""
        running = bench.start("exit 0")
        bench.ended(running)
        polecat = bench.polecat("slot0")
        never = replace(running.session, id=f"{polecat.id}-1", polecat_id=polecat.id)
        assert bench.hooks.vermas_session_read(rig=bench.rig, session=never, cursor=0, limit_bytes=100).data == b""

    def test_observers_do_not_wait_for_the_agent(self, bench: Bench) -> None:
        """A flood of output, and a stopped agent, hold up neither observe nor read nor discover."""
        flood = bench.start_ready(": > ready; exec yes 'a flood of lines'", bench.polecat("slot0"))
        still = bench.start_ready("echo $$ > pid; : > ready; exec sleep 60", bench.polecat("slot1"))
        os.kill(int(still.file("pid").read_text()), signal.SIGSTOP)
        for running in (flood, still):
            began = time.monotonic()
            assert bench.alive(running)
            bench.read(running)
            assert len(bench.discover()) == 2
            assert time.monotonic() - began < 5.0

    def _needs_kept_output(self) -> None:
        if not self.keeps_output:
            pytest.skip("this runtime declares that output is lost with the session")


def _whole(bench: Bench, running: Running) -> bytes:
    return b"".join(piece.data for piece in bench.read_to_end(running))
