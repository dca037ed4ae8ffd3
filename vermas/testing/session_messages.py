"""`SessionContract`, part 4: messages to the agent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from vermas.errors import Unsupported
from vermas.testing.fresh import call_in_fresh_process
from vermas.testing.session_bench import Bench, Running
from vermas.types import Receipt

#: An agent that writes down every byte it is given, as full-screen agents read: no echo, no line editing.
LISTENER = "stty raw -echo 2>/dev/null; : > ready; exec cat > got"

LITERAL = {
    "empty": "",
    "plain": "hello",
    "several-lines": "one\ntwo\n\nfour",
    "leading-hyphen": "-t --help -- -x",
    "key-names": "Enter",
    "key-sequence": "C-c Escape Enter",
    "trailing-semicolon": "echo one;",
    "semicolon-alone": ";",
    "escaped-semicolon": "\\;",
    "formats": "#{pid} #(touch pwned) #[fg=red] %H ##",
    "shell": "$(touch pwned) `touch pwned` ${HOME} 'a' \"b\" \\ !!",
    "unicode": "漢字 ünï 🐈 \u2028",
    "tabs-and-spaces": "\tone  two \t",
    "trailing-newline": "one\n",
    "100-kB": "0123456789 line of a long message\n" * 3000,
}


class MessageCases:
    """Sending: the text as it is, once per key, never to the wrong session; or `Unsupported`."""

    supports_send: bool
    brackets_pastes: bool

    def _listener(self, bench: Bench) -> Running:
        if not self.supports_send:
            pytest.skip("this runtime declares that it cannot send")
        return bench.start_ready(LISTENER)

    def test_unsupported_is_said(self, bench: Bench) -> None:
        """A runtime that cannot send raises `Unsupported`; it never pretends."""
        if self.supports_send:
            pytest.skip("this runtime can send")
        running = bench.start_ready(": > ready; exec sleep 60")
        with pytest.raises(Unsupported):
            bench.send(running, "hello")

    @pytest.mark.parametrize("text", LITERAL.values(), ids=LITERAL.keys())
    def test_text_arrives_as_it_is(self, bench: Bench, text: str) -> None:
        """Any text arrives unchanged, followed by one Enter."""
        running = self._listener(bench)
        assert bench.send(running, text).state == "delivered"
        assert received(bench, running, len(text.encode()) + 1) == text.encode() + b"\r"
        assert not list(bench.tmp_path.rglob("pwned"))

    def test_control_characters_are_removed(self, bench: Bench) -> None:
        """No escape sequence, interrupt or carriage return goes through; newline and tab do."""
        running = self._listener(bench)
        text = "a\x03b\x1b[31mc\x00d\re\x7ff\x9b31mg\n\th\x04\x1a"
        assert bench.send(running, text).state == "delivered"
        assert received(bench, running, 18) == b"ab[31mcdef31mg\n\th\r"

    def test_a_paste_cannot_be_ended_from_inside(self, bench: Bench) -> None:
        """`ESC [ 201 ~` in the text, also when nested so that removing it once leaves another, does not reach the agent."""
        running = self._listener(bench)
        assert bench.send(running, "one\x1b[201~two\x1b[2\x1b[201~01~three\x9b201~").state == "delivered"
        bench.wait(lambda: running.file("got").read_bytes().endswith(b"\r"), "the message arrived")
        data = running.file("got").read_bytes()
        assert b"\x1b" not in data
        assert b"\xc2\x9b" not in data
        assert data.startswith(b"one")

    def test_pastes_are_bracketed_when_asked_for(self, bench: Bench) -> None:
        """An agent that switched bracketed paste on gets one paste, and Enter behind it."""
        if not (self.supports_send and self.brackets_pastes):
            pytest.skip("this runtime declares that it does not bracket pastes")
        running = bench.start("stty raw -echo; printf '\\033[?2004hlistening'; exec cat > got")
        bench.read_until(running, lambda data: b"listening" in data)
        assert bench.send(running, "one\ntwo").state == "delivered"
        assert received(bench, running, 20) == b"\x1b[200~one\ntwo\x1b[201~\r"

    def test_a_key_is_delivered_once(self, bench: Bench) -> None:
        """The same key again says `delivered` and delivers nothing; another key delivers."""
        running = self._listener(bench)
        assert [bench.send(running, text, key).state for text, key in (("one", "k1"), ("one", "k1"), ("two", "k2"))] == ["delivered"] * 3
        assert received(bench, running, 8) == b"one\rtwo\r"

    def test_a_key_is_remembered_by_a_fresh_process(self, bench: Bench) -> None:
        """Keys survive a restart of VerMAS."""
        running = self._listener(bench)
        assert bench.send(running, "one", "k1").state == "delivered"
        again: Receipt = call_in_fresh_process(bench.plugin, "session_send", rig=running.rig, session=running.session, text="one", key="k1")
        assert again.state == "delivered"
        assert bench.send(running, "two", "k2").state == "delivered"
        assert received(bench, running, 8) == b"one\rtwo\r"

    def test_a_key_sent_from_many_threads(self, bench: Bench) -> None:
        """Eight sends of one key at once deliver once."""
        running = self._listener(bench)
        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(lambda _: bench.send(running, "one", "k1"), range(8)))
        assert {receipt.state for receipt in receipts} <= {"delivered", "unknown"}
        assert bench.send(running, "two", "k2").state == "delivered"
        assert received(bench, running, 8) == b"one\rtwo\r"

    def test_messages_do_not_mix(self, bench: Bench) -> None:
        """Messages sent at the same time arrive whole, one after another."""
        running = self._listener(bench)
        texts = [letter * 5000 for letter in "abcd"]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda text: bench.send(running, text, text[0]), texts))
        arrived = received(bench, running, 4 * 5001).decode().split("\r")
        assert sorted(arrived[:-1]) == texts

    def test_odd_keys(self, bench: Bench) -> None:
        """A key is any string: quotes, newlines, slashes, 10 kB."""
        running = self._listener(bench)
        for key in ("../../x", "a\nb", "'\"$(touch pwned)", "k" * 10_000, ""):
            assert bench.send(running, "x", key).state == bench.send(running, "x", key).state == "delivered"
        assert received(bench, running, 10) == b"x\r" * 5
        assert not list(bench.tmp_path.rglob("pwned"))

    def test_an_ended_session_rejects(self, bench: Bench) -> None:
        """Nobody is there to read: `rejected`."""
        running = self._listener(bench)
        bench.stop(running)
        assert bench.send(running, "hello").state == "rejected"

    def test_a_session_never_started_rejects(self, bench: Bench) -> None:
        """A start that is recorded, but whose command does not exist, takes no message."""
        if not self.supports_send:
            pytest.skip("this runtime declares that it cannot send")
        running = bench.start(["/nonexistent/agent"])
        bench.ended(running)
        assert bench.send(running, "hello").state == "rejected"

    def test_a_stale_handle_cannot_send_to_the_successor(self, bench: Bench) -> None:
        """A message for session 1 is rejected, and session 2 in its place reads nothing of it."""
        first = self._listener(bench)
        bench.stop(first)
        first.file("ready").unlink()
        second = bench.next_session(first, LISTENER)
        assert bench.send(first, "for the first", "k1").state == "rejected"
        assert bench.send(second, "for the second", "k1").state == "delivered"
        assert received(bench, second, 15) == b"for the second\r"

    def test_messages_reach_only_their_session(self, bench: Bench) -> None:
        """Of several sessions, and slots that begin alike, one gets the message."""
        if not self.supports_send:
            pytest.skip("this runtime declares that it cannot send")
        one, ten = (bench.start_ready(LISTENER, bench.polecat(slot)) for slot in ("slot1", "slot10"))
        assert bench.send(one, "one").state == "delivered"
        assert bench.send(ten, "ten").state == "delivered"
        assert received(bench, one, 4) == b"one\r"
        assert received(bench, ten, 4) == b"ten\r"


def received(bench: Bench, running: Running, size: int) -> bytes:
    """What a listener got, once it is at least `size` bytes."""
    got = running.file("got")
    bench.wait(lambda: got.exists() and got.stat().st_size >= size, f"{size} bytes arrived")
    return got.read_bytes()
