"""The process that keeps one session: its terminal, its log, its input socket. Imports nothing outside the standard library.

Run as `python -I -S host.py HOME ID RUN_PREFIX IDENTITY LOG_BYTES ROWS COLUMNS CWD ARGV…`, IDENTITY being the JSON object that its records
begin with. It leaves its parent, and prints one line when the session runs (`ok`), was started before (`exists`) or cannot be started
(`error …`). Files, all private:

- `HOME/host-ID.json`: the record. Created once and never replaced, so a session starts once; locked while this process lives.
- `HOME/log-ID.OFFSET`: a piece of the output, from that offset on.
- `HOME/ended-ID.json`: how it ended.
- `RUN_PREFIX.json`, `.s`, `.a`: a second record (locked too), the socket, and the mark that somebody is attached; gone when it ended.

The socket speaks in lines. `send KEY SIZE`, followed by that many bytes, is answered with `delivered`, `rejected WHY` or `unknown WHY`.
`attach ROWS COLUMNS` is answered with the end of the output and all that follows; the client sends frames: `d`, two bytes of length, keys;
or `w`, two bytes of rows, two of columns.
"""

from __future__ import annotations

import fcntl
import select
import sys
import termios
import time
from _socket import AF_UNIX, SOCK_STREAM
from _socket import socket as Socket  # noqa: N812 (it is a type)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import signal
    from collections.abc import Callable
    from typing import NoReturn
else:
    # What `os` and `signal` wrap: the wrappers would add 5 ms to each start of a session.
    import _signal as signal
    import posix as os

CHUNK = 1 << 16
REPLAY_BYTES = 1 << 16  # what somebody who attaches is shown of the past
CLIENT_BYTES = 1 << 20  # how far a client may lag behind before it is dropped
MESSAGE_BYTES = 16 << 20
LINE_BYTES = 4095  # what a line-buffered terminal keeps of a line
SEGMENTS = 4
STALL_S = 10.0  # an agent that reads nothing for so long has not taken the message
ENTER_S = 0.1  # programs that detect pastes by speed would take an Enter right behind as text
DRAIN_S = 0.5  # a leftover process may keep the terminal open, and print for ever
PASTE_ON, PASTE_OFF = b"\x1b[200~", b"\x1b[201~"


class Log:
    """The newest output in segments; offsets count from the session's first byte. `keep` bytes at least are kept."""

    def __init__(self, prefix: str, keep: int) -> None:
        self.prefix = prefix
        self.segment_bytes = max(1, -(-keep // SEGMENTS))
        self.starts: list[int] = []
        self.end = 0
        self.fd = -1

    def write(self, data: bytes) -> None:
        """Append; a full disk loses output (readers see a gap), not the session."""
        view = memoryview(data)
        while view:
            try:
                room = self.segment_bytes - (self.end - self.starts[-1]) if self.fd >= 0 else 0
                if room <= 0:
                    self.rotate()
                    room = self.segment_bytes
                written = os.write(self.fd, view[:room])
            except OSError:
                self.end += len(view)
                self.close()
                return
            self.end += written
            view = view[written:]

    def rotate(self) -> None:
        """Begin a segment and drop the oldest."""
        self.close()
        fd = os.open(f"{self.prefix}.{self.end}", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        self.fd = fd
        self.starts.append(self.end)
        while len(self.starts) > SEGMENTS + 1:
            attempt(os.unlink, f"{self.prefix}.{self.starts.pop(0)}")

    def tail(self, size: int) -> bytes:
        """The end of the present segment."""
        if self.fd < 0:
            return b""
        length = self.end - self.starts[-1]
        return os.pread(self.fd, size, max(0, length - size))

    def close(self) -> None:
        """Close the present segment."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Message:
    """A text on its way to the agent. `parts` are what remains to be typed, each with the pause before it."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.parts: list[tuple[float, bytes]] = []
        self.begun = False
        self.not_before = 0.0
        self.stalled_at = 0.0
        self.askers: list[Client] = []
        self.answer = ""


class Client:
    """A connection: undecided until its first line, then a sender or an attached terminal."""

    def __init__(self, host: Host, socket: Socket) -> None:
        self.host = host
        self.socket = socket
        self.fd = socket.fileno()
        self.received = b""
        self.outgoing = b""
        self.attached = False
        self.message_key = b""
        self.message_bytes = 0
        self.asked = False
        self.closing = False

    def on_event(self, event: int) -> None:
        """Read what came, write what waits."""
        try:
            if event & select.POLLOUT:
                self.flush()
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                data = self.socket.recv(CHUNK)
                if not data:
                    self.host.drop(self)
                    return
                self.received += data
                self.understand()
        except BlockingIOError:
            pass
        except OSError:
            self.host.drop(self)

    def understand(self) -> None:
        """Act on what was received so far."""
        if self.attached:
            self.take_frames()
        elif self.message_key:
            self.take_message()
        elif b"\n" in self.received:
            line, _, self.received = self.received.partition(b"\n")
            self.take_line(line.split())
        elif len(self.received) > 4096:
            self.host.drop(self)

    def take_line(self, words: list[bytes]) -> None:
        """The first line says what the connection is for."""
        if len(words) == 3 and words[0] == b"send" and words[2].isdigit():
            self.message_key, self.message_bytes = words[1], int(words[2])
            if self.message_bytes > MESSAGE_BYTES:
                self.reply(f"rejected a message may have {MESSAGE_BYTES} bytes")
                return
        elif len(words) == 3 and words[0] == b"attach" and words[1].isdigit() and words[2].isdigit():
            self.attached = True
            self.say(self.host.log.tail(REPLAY_BYTES))
            self.host.mark_attached()
            self.host.resize(int(words[1]), int(words[2]), redraw=True)
        else:
            self.host.drop(self)
            return
        self.understand()

    def take_message(self) -> None:
        """Hand over a message that is complete."""
        if not self.asked and len(self.received) >= self.message_bytes:
            self.asked = True
            self.host.accept_message(self, self.message_key, self.received[: self.message_bytes])

    def take_frames(self) -> None:
        """Keys and window sizes of an attached terminal."""
        while len(self.received) >= 3:
            kind, size = self.received[:1], int.from_bytes(self.received[1:3], "big")
            length = 5 if kind == b"w" else 3 + size
            if len(self.received) < length:
                return
            frame, self.received = self.received[:length], self.received[length:]
            if kind == b"w":
                self.host.resize(size, int.from_bytes(frame[3:5], "big"))
            else:
                self.host.type(frame[3:])

    def reply(self, line: str) -> None:
        """Answer a sender and close the connection once it has that."""
        self.closing = True
        self.say(line.encode("utf-8", "replace") + b"\n")

    def say(self, data: bytes) -> None:
        """Queue bytes for the client; one that lags too far behind is dropped."""
        self.outgoing += data
        if len(self.outgoing) > CLIENT_BYTES:
            self.host.drop(self)
        else:
            self.flush()

    def flush(self) -> None:
        """Write what the connection takes."""
        try:
            while self.outgoing:
                self.outgoing = self.outgoing[self.socket.send(self.outgoing) :]
        except BlockingIOError:
            pass
        except OSError:
            self.host.drop(self)
            return
        if self.closing and not self.outgoing:
            self.host.drop(self)
        else:
            self.host.watch(self.fd, select.POLLIN | (select.POLLOUT if self.outgoing else 0), self.on_event)


class Host:
    """The event loop of one session."""

    def __init__(self, master: int, child: int, log: Log, listener: Socket, run_prefix: str) -> None:
        self.master = master
        self.child = child
        self.log = log
        self.listener = listener
        self.run_prefix = run_prefix
        self.poll = select.poll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.clients: dict[int, Client] = {}
        self.messages: dict[bytes, Message] = {}
        self.queue: list[Message] = []
        self.typed = b""
        self.recent = b""
        self.bracketed = False
        self.status: int | None = None
        self.wakeup, wakeup_write = os.pipe()
        for fd in (self.wakeup, wakeup_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self.on_signal)

    def run(self) -> int:
        """Serve until the child has ended and its last words are in the log; its wait status."""
        self.watch(self.wakeup, select.POLLIN, lambda event: attempt(os.read, self.wakeup, CHUNK))
        self.watch(self.listener.fileno(), select.POLLIN, self.on_connection)
        self.watch(self.master, select.POLLIN, self.on_terminal)
        self.reap()
        while self.status is None:
            for fd, event in self.poll.poll(self.next_timeout()):
                if fd in self.handlers:
                    self.handlers[fd](event)
            self.feed()
            self.reap()
        self.drain()
        for message in self.messages.values():
            self.finish(message, "unknown the session ended meanwhile" if message.begun else "rejected the session is over")
        return self.status

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` when something happens to `fd`."""
        self.handlers[fd] = handler
        self.poll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor."""
        if self.handlers.pop(fd, None):
            self.poll.unregister(fd)

    def on_signal(self, number: int, frame: object) -> None:
        """A request to end goes to the child; this process ends after it."""
        if number != signal.SIGCHLD and self.status is None:
            attempt(os.kill, self.child, signal.SIGTERM)

    def reap(self) -> None:
        """Notice the end of the child."""
        pid, status = os.waitpid(self.child, os.WNOHANG) if self.status is None else (0, 0)
        if pid:
            self.status = status

    def on_terminal(self, event: int) -> None:
        """Output to log and watchers; room for input."""
        if event & select.POLLOUT:
            self.feed()
        if event & (select.POLLIN | select.POLLHUP | select.POLLERR) and self.read_terminal() == "closed":
            self.unwatch(self.master)

    def read_terminal(self) -> str:
        """Take one piece of output: `more`, `empty`, or `closed` when nobody has the terminal any more."""
        try:
            data = os.read(self.master, CHUNK)
        except BlockingIOError:
            return "empty"
        except OSError:
            return "closed"
        if not data:
            return "closed"
        self.log.write(data)
        self.notice_paste_mode(data)
        for client in [client for client in self.clients.values() if client.attached]:
            client.say(data)
        return "more"

    def notice_paste_mode(self, data: bytes) -> None:
        """Follow `CSI ? … 2004 … h` and `l`, also when cut in two."""
        seen = self.recent + data
        self.recent = seen[-24:]
        place = seen.rfind(b"2004")
        while place >= 0:
            introduced, before = seen[max(0, place - 20) : place].rpartition(b"\x1b[?")[1:]
            after = seen[place + 4 : place + 24]
            letter = after.lstrip(b"0123456789;")[:1] if after.startswith(b";") else after[:1]
            whole = introduced and not before.strip(b"0123456789;") and before[-1:] in (b"", b";")
            if whole and letter in (b"h", b"l"):
                self.bracketed = letter == b"h"
                return
            place = seen.rfind(b"2004", 0, place)

    def drain(self) -> None:
        """Read on until the terminal is closed, or silent because a leftover process keeps it open."""
        give_up = time.monotonic() + DRAIN_S
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        while self.read_terminal() != "closed" and (left := give_up - time.monotonic()) > 0:
            poll.poll(left * 1000)

    def on_connection(self, event: int) -> None:
        """Somebody wants to send or to watch."""
        try:
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        client = Client(self, Socket(AF_UNIX, SOCK_STREAM, 0, fd))
        client.socket.setblocking(False)
        self.clients[client.fd] = client
        self.watch(client.fd, select.POLLIN, client.on_event)

    def drop(self, client: Client) -> None:
        """Close a connection."""
        if self.clients.pop(client.fd, None) is None:
            return
        self.unwatch(client.fd)
        client.socket.close()
        if client.attached:
            self.mark_attached()

    def mark_attached(self) -> None:
        """Keep the mark for those who only look at files."""
        if any(client.attached for client in self.clients.values()):
            attempt(lambda: os.close(os.open(self.run_prefix + ".a", os.O_WRONLY | os.O_CREAT, 0o600)))
        else:
            attempt(os.unlink, self.run_prefix + ".a")

    def resize(self, rows: int, columns: int, redraw: bool = False) -> None:
        """Set the window size; `redraw` makes a full-screen program paint even when the size is the same."""
        if not 0 < rows < 10000 or not 0 < columns < 10000:
            return
        if redraw:
            set_size(self.master, rows, columns + 1)
        set_size(self.master, rows, columns)

    def type(self, keys: bytes) -> None:
        """Keys of an attached terminal, between messages."""
        if len(self.typed) < CLIENT_BYTES:
            self.typed += keys
        self.feed()

    def accept_message(self, client: Client, key: bytes, text: bytes) -> None:
        """A message, or a question for the fate of one: a key is typed at most once."""
        message = self.messages.get(key)
        if message is None:
            message = self.messages[key] = Message(text)
            self.queue.append(message)
        message.askers.append(client)
        if message.answer:
            self.finish(message, message.answer)
        else:
            self.feed()

    def finish(self, message: Message, answer: str) -> None:
        """Settle a message and tell all who asked."""
        message.answer = message.answer or answer
        message.text = b""
        if message in self.queue:
            self.queue.remove(message)
        askers, message.askers = message.askers, []
        for client in askers:
            client.reply(message.answer)

    def feed(self) -> None:
        """Type what waits, as far as the terminal takes it."""
        while self.queue:
            message = self.queue[0]
            if not message.begun:
                if self.typed and not self.write_typed():
                    break
                self.begin(message)
                continue
            if not self.write_parts(message):
                break
        if not self.queue or not self.queue[0].begun:
            self.write_typed()
        if self.master in self.handlers:
            waiting = self.typed or (self.queue and time.monotonic() >= self.queue[0].not_before)
            self.watch(self.master, select.POLLIN | (select.POLLOUT if waiting else 0), self.on_terminal)

    def begin(self, message: Message) -> None:
        """Choose how to type a message by what the program asked its terminal for."""
        line_buffered = termios.tcgetattr(self.master)[3] & termios.ICANON
        if line_buffered and max(len(line) for line in message.text.split(b"\n")) >= LINE_BYTES:
            self.finish(message, f"rejected the program reads whole lines, and a terminal keeps {LINE_BYTES} bytes of a line")
        elif line_buffered:
            message.parts = [(0.0, message.text + b"\r")]
        elif self.bracketed:
            message.parts = [(0.0, PASTE_ON + message.text + PASTE_OFF), (ENTER_S, b"\r")]
        else:
            message.parts = [(0.0, message.text), (ENTER_S, b"\r")]
        message.begun = True
        message.stalled_at = time.monotonic() + STALL_S

    def write_parts(self, message: Message) -> bool:
        """Type on; True when the message is settled."""
        while message.parts and time.monotonic() >= message.not_before:
            data = message.parts[0][1]
            written = self.write(data)
            if written:
                message.stalled_at = time.monotonic() + STALL_S
            if written < len(data):
                message.parts[0] = (0.0, data[written:])
                break
            message.parts.pop(0)
            if message.parts:
                message.not_before = time.monotonic() + message.parts[0][0]
        if not message.parts:
            self.finish(message, message.answer or "delivered")
        elif time.monotonic() >= message.stalled_at:
            self.finish(message, "unknown the program stopped reading in the middle of it")
        return bool(message.answer)

    def write_typed(self) -> bool:
        """Type an attached terminal's keys; True when none is left."""
        if self.typed:
            self.typed = self.typed[self.write(self.typed) :]
        return not self.typed

    def write(self, data: bytes) -> int:
        """How many bytes the terminal took."""
        try:
            return os.write(self.master, data[:CHUNK])
        except OSError:
            return 0

    def next_timeout(self) -> float | None:
        """Milliseconds until something is due."""
        if not self.queue or not self.queue[0].begun:
            return None
        message, now = self.queue[0], time.monotonic()
        due = message.not_before if message.not_before > now else message.stalled_at
        return max(0.0, due - now) * 1000 + 1


def main(arguments: list[str]) -> NoReturn:
    """Leave the parent, start the session, keep it, and record its end."""
    home, session_id, run_prefix, identity, log_bytes, rows, columns, cwd, *argv = arguments
    if os.fork():
        os._exit(0)
    os.setsid()
    umask = os.umask(0o077)
    temporary = f"{run_prefix}.{os.getpid()}"
    try:
        master, slave = os.openpty()
        set_size(master, int(rows), int(columns))
        listener = Socket(AF_UNIX, SOCK_STREAM)
        listener.bind(temporary)  # a name of its own: another host of this session may have the real one
        listener.listen(16)
        child, go, errors = fork_child(slave, cwd, argv, umask)
        os.close(slave)
        record = describe(identity, child)
        claim(f"{home}/host-{session_id}.json", record)
    except FileExistsError:
        attempt(os.unlink, temporary)
        answer("exists")
        os._exit(0)
    except OSError as error:
        attempt(os.unlink, temporary)
        answer(f"error {error}")
        os._exit(1)
    attempt(os.rename, temporary, run_prefix + ".s")
    attempt(os.unlink, run_prefix + ".json")
    attempt(claim, run_prefix + ".json", record)
    os.write(go, b"x")
    os.close(go)
    failure = read_all(errors)
    answer(f"error {failure}" if failure else "ok")
    leave_descriptors(home, session_id)
    os.set_blocking(master, False)
    listener.setblocking(False)
    log = Log(f"{home}/log-{session_id}", int(log_bytes))
    status = Host(master, child, log, listener, run_prefix).run()
    record_end(home, session_id, status, log.end)
    for suffix in (".json", ".s", ".a"):
        attempt(os.unlink, run_prefix + suffix)
    os._exit(0)


def describe(identity: str, child: int) -> str:
    """The record: whose session this is, and which processes keep and supervise it."""
    pid = os.getpid()
    facts = f'"pid": {pid}, "start_ticks": {start_ticks(pid)}, "boot_id": "{boot_id()}"'
    return f'{identity[:-1]}, {facts}, "child_pid": {child}, "child_start_ticks": {start_ticks(child)}}}\n'


def fork_child(slave: int, cwd: str, argv: list[str], umask: int) -> tuple[int, int, int]:
    """A child on the terminal that waits for a byte before it executes `argv`: its pid, where to write, where its error is read."""
    go_read, go_write = os.pipe()
    error_read, error_write = os.pipe()
    child = os.fork()
    if child:
        os.close(go_read)
        os.close(error_write)
        return child, go_write, error_read
    try:
        os.close(go_write)
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        if os.read(go_read, 1):
            for fd in (0, 1, 2):
                os.dup2(slave, fd)
            os.chdir(cwd)
            os.umask(umask)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.execve(argv[0], argv, os.environ)
    except OSError as error:
        os.write(error_write, f"{error.strerror}: {error.filename}".encode("utf-8", "replace"))
    os._exit(127)


def claim(path: str, record: str) -> None:
    """Create the record, whole and locked, or raise FileExistsError: of any number of hosts one comes through."""
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)  # open, and so locked, until this process dies
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, record.encode())
    try:
        os.link(temporary, path)
    finally:
        os.unlink(temporary)


def record_end(home: str, session_id: str, status: int, output_bytes: int) -> None:
    """Write how the session ended; without it (a full disk) the supervisor's own record remains."""
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else "null"
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else "null"
    attempt(write_file, f"{home}/ended-{session_id}.json", f'{{"code": {code}, "signal": {killed}, "output_bytes": {output_bytes}}}\n')
    attempt(unlink_empty, f"{home}/host-{session_id}.err")


def unlink_empty(path: str) -> None:
    """Remove a file without content."""
    if os.stat(path).st_size == 0:
        os.unlink(path)


def write_file(path: str, text: str) -> None:
    """Replace a file in one step."""
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    os.write(fd, text.encode())
    os.close(fd)
    os.rename(temporary, path)


def leave_descriptors(home: str, session_id: str) -> None:
    """Let go of the starter's pipe; tracebacks of this process go to a file."""
    null = os.open("/dev/null", os.O_RDWR)
    try:
        errors = os.open(f"{home}/host-{session_id}.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError:
        errors = null
    for fd, source in ((0, null), (1, null), (2, errors)):
        os.dup2(source, fd)


def answer(line: str) -> None:
    """Tell the starter, who may be dead."""
    attempt(os.write, 1, line.encode("utf-8", "replace") + b"\n")


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Set the window size of a terminal."""
    numbers = (rows, columns, 0, 0)
    attempt(fcntl.ioctl, terminal, termios.TIOCSWINSZ, b"".join(number.to_bytes(2, sys.byteorder) for number in numbers))


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 without `/proc`."""
    try:
        return int(read_all(os.open(f"/proc/{pid}/stat", os.O_RDONLY)).rpartition(") ")[2].split()[19])
    except OSError:
        return 0


def boot_id() -> str:
    """The kernel's name for this boot; "" without `/proc`."""
    try:
        return read_all(os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY)).strip()
    except OSError:
        return ""


def read_all(fd: int) -> str:
    """Everything until end of file; closes `fd`."""
    parts = []
    while part := os.read(fd, CHUNK):
        parts.append(part)
    os.close(fd)
    return b"".join(parts).decode("utf-8", "replace")


def attempt(action: Callable[..., object], *arguments: object) -> None:
    """Do what may fail because its object is gone already."""
    try:
        action(*arguments)
    except OSError:
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
