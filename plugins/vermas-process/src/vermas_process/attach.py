r"""Shows a session in the terminal it is run in: `python attach.py SOCKET`. Ctrl-\ detaches; the session goes on.

Imports the standard library only, and nothing else of this plugin, so that it starts at once.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import termios
import tty

DETACH = b"\x1c"
CHUNK = 1 << 16
#: Leave what a full-screen program may have switched on: alternate screen, mouse, bracketed paste, hidden cursor, colours.
TIDY = b"\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?25h\x1b[0m\r\n"


def main(path: str) -> int:
    """Connect the terminal until it detaches or the session ends; the exit code."""
    if not (os.isatty(0) and os.isatty(1)):
        print("attach: needs a terminal", file=sys.stderr)
        return 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            print(f"attach: the session is over ({error.strerror})", file=sys.stderr)
            return 1
        before = termios.tcgetattr(0)
        try:
            tty.setraw(0, termios.TCSADRAIN)  # keys pressed too early are not lost
            ending = relay(connection)
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            os.write(1, TIDY)
    print(f"[{ending}]")
    return 0


def relay(connection: socket.socket) -> str:
    """Pass keys and output on; why it ended."""
    wakeup_read, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGWINCH, lambda number, frame: None)
    connection.sendall(b"attach %d %d\n" % window_size())
    poll = select.poll()
    for fd in (0, connection.fileno(), wakeup_read):
        poll.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        try:
            if wakeup_read in ready:
                os.read(wakeup_read, CHUNK)
                rows, columns = window_size()
                connection.sendall(b"w" + rows.to_bytes(2, "big") + columns.to_bytes(2, "big"))
            if connection.fileno() in ready:
                output = connection.recv(CHUNK)
                if not output:
                    return "session ended"
                write_all(output)
            if 0 in ready:
                keys = os.read(0, 4096)
                typed, detach, _ = keys.partition(DETACH)
                connection.sendall(b"d" + len(typed).to_bytes(2, "big") + typed)
                if detach or not keys:
                    return "detached"
        except OSError:
            return "session ended"


def write_all(data: bytes) -> None:
    """Show output."""
    while data:
        data = data[os.write(1, data) :]


def window_size() -> tuple[int, int]:
    """Rows and columns of this terminal; 24 and 80 when it does not know."""
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    rows, columns = (int.from_bytes(size[place : place + 2], sys.byteorder) for place in (0, 2))
    return rows or 24, columns or 80


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
