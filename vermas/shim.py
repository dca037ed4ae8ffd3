"""The supervisor of one session: takes its lock, runs its agent, ends every descendant, and records how it ended.

Run as `python -I -S shim.py SPEC`; standard library only, no imports from the rest. SPEC is a JSON file that is read once and removed (it
holds the session's environment): `id`, `lock`, `record`, `exit`, `argv`, `env` (complete), `cwd`, `stdin`, `output`, `grace_s`, `poke`,
`timeout_s`.

The agent runs on the terminal the shim was given (as its foreground group in a tmux pane, as session leader on a fresh pty), or without
any. TERM, HUP or INT end the whole tree. The exit code or signal is the agent's; 75 means refused: the lock is held, or the session ran
already.

Subreaper and `/proc` need Linux; elsewhere the agent's process group is ended instead of all its descendants.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import signal
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn
else:
    # What `os` and `signal` wrap: the wrappers would add 5 ms to each start of a session.
    import _signal as signal
    import posix as os

REFUSED = 75
NO_RECORD = 70
KILL_DEADLINE_S = 5.0
LINGER_S = 0.02  # tmux drops what a pane printed right before it ended
STOP_SIGNALS: dict[int, str] = {signal.SIGHUP: "HUP", signal.SIGINT: "INT", signal.SIGTERM: "TERM"}
AWAITED = [*STOP_SIGNALS, signal.SIGCHLD]
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36


def main(spec_path: str) -> NoReturn:
    """Run the session that `spec_path` describes; never returns."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    try:
        spec = parse_json(read_file(spec_path).decode("utf-8", "surrogatepass"))
    except FileNotFoundError:
        refuse(f"{spec_path} is gone: this session was started already")
    attempt(os.unlink, encode(spec_path))
    take_lock(spec["lock"])
    if ran_already(spec):
        refuse(f"session {spec['id']} ran already")
    Supervisor(spec).run()


def refuse(why: str) -> NoReturn:
    """Say why nothing was started, and exit."""
    say(why)
    os._exit(REFUSED)


def say(what: str) -> None:
    """Print one line for whoever looks at the terminal or the log."""
    attempt(os.write, 2, f"vermas shim: {what}\n".encode("utf-8", "replace"))


def take_lock(path: str) -> int:
    """The close-on-exec descriptor that holds the session's lock until this process dies; exits when somebody has it."""
    import fcntl

    tries = 5
    while True:
        lock = os.open(encode(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            tries -= 1  # whoever only looks whether it is held, holds it for some microseconds
            if tries == 0:
                refuse(f"{path} is held: the session is running")
            time.sleep(0.005)
            continue
        try:
            if os.fstat(lock).st_ino == os.stat(encode(path)).st_ino:
                return lock
        except FileNotFoundError:
            pass
        os.close(lock)


def ran_already(spec: dict[str, Any]) -> bool:
    """Whether the exit record of this very session exists."""
    try:
        return bool(parse_json(read_file(spec["exit"]).decode())["id"] == spec["id"])
    except (FileNotFoundError, ValueError, KeyError, StopIteration):
        return False


class Supervisor:
    """One run of one agent. `status` is the agent's wait status once it ended."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.started = time.monotonic()
        self.agent = 0
        self.status: int | None = None
        self.stopped_by = ""
        self.terminal: Terminal | None = None if spec.get("output") else Terminal.find()

    def run(self) -> NoReturn:
        """Start the agent, wait, end what it left, record, and die as it did."""
        if self.terminal is None:
            attempt(os.setsid)  # the Ctrl-C and the hangup of whoever started us are not meant for the agent
        for number in AWAITED:
            signal.signal(number, ignore)  # a disposition inherited as "ignored" would lose it
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        error = self.start()
        timed_out = False
        if not error:
            poke(self.spec, "start")
            timed_out = self.wait()
        self.end_tree(0.0 if timed_out else float(self.spec.get("grace_s") or 0.0))
        if self.terminal is not None:
            self.terminal.restore()
        self.record_exit(error, timed_out)
        poke(self.spec, "exit")
        if os.isatty(1):
            time.sleep(LINGER_S)
        self.die(error)

    def start(self) -> str:
        """Start the agent; "" or why it could not be executed. It waits for its record to be on disk before it executes."""
        go_read, go_write = os.pipe()
        error_read, error_write = os.pipe()
        self.agent = os.fork()
        if self.agent == 0:
            os.close(go_write)
            become_agent(self.spec, self.terminal, go_read, error_write)
        os.close(go_read)
        os.close(error_write)
        try:
            self.record_start()
        except OSError as error:
            say(f"cannot write {self.spec['record']}: {error.strerror}")
            os._exit(NO_RECORD)  # the agent reads end of file and never executes
        os.write(go_write, b"x")
        os.close(go_write)
        return read_all(error_read).decode("utf-8", "replace")

    def wait(self) -> bool:
        """Wait until the agent ended or is to be stopped; True when its time was up."""
        timeout_s = self.spec.get("timeout_s")
        deadline = None if timeout_s is None else self.started + float(timeout_s)
        while self.reap() and self.status is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return True
            if self.note_stop(await_signal(left)):
                return False
        while number := await_signal(0):  # the hangup that ended the agent reaches both at once
            self.note_stop(number)
        return False

    def note_stop(self, number: int) -> bool:
        """Remember the first signal that asks for an end."""
        if number in STOP_SIGNALS and not self.stopped_by:
            self.stopped_by = STOP_SIGNALS[number]
        return bool(self.stopped_by)

    def reap(self) -> bool:
        """Collect children that changed; False when none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.agent and os.WIFSTOPPED(status):
                self.resume(os.WSTOPSIG(status))
            elif pid == self.agent:
                self.status = status

    def resume(self, number: int) -> None:
        """Continue an agent that job control stopped: nobody else would. SIGSTOP is a deliberate pause and left alone."""
        if number not in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            return
        if self.terminal is not None and self.terminal.inherited and not self.terminal.foreground:
            return  # in the background it would stop again at once
        if self.terminal is not None:
            self.terminal.give_to(self.agent)
        attempt(os.killpg, self.agent, signal.SIGCONT)

    def end_tree(self, grace_s: float) -> None:
        """End all descendants: TERM and CONT, and after `grace_s` KILL until none is left or the kernel will not let go of one."""
        if sys.platform != "linux":
            attempt(os.killpg, self.agent, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        told: set[int] = set()
        while self.reap() and (left := deadline - time.monotonic()) > 0:
            news = descendants(os.getpid()) - told
            send(news, signal.SIGTERM, signal.SIGCONT)
            told |= news
            await_signal(min(left, 0.05))
        if sys.platform != "linux":
            attempt(os.killpg, self.agent, signal.SIGKILL)
        deadline, pause_s = time.monotonic() + KILL_DEADLINE_S, 0.001
        while self.reap() and time.monotonic() < deadline:
            send(descendants(os.getpid()), signal.SIGKILL)
            await_signal(pause_s)
            pause_s = min(pause_s * 2, 0.05)

    def record_start(self) -> None:
        """Say who supervises what, for those who must prove it before they send a signal."""
        pid = os.getpid()
        record = {"id": self.spec["id"], "pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id(), "agent_pid": self.agent}
        write_atomically(self.spec["record"], record, durable=False)

    def record_exit(self, error: str, timed_out: bool) -> None:
        """Write the exit record; a full disk must not keep this process from dying as the agent did."""
        times = os.times()
        code, number = self.outcome(error)
        record = {
            "id": self.spec["id"],
            "code": code,
            "signal": number,
            "stopped_by": self.stopped_by,
            "timed_out": timed_out,
            "error": error,
            "survivors": sorted(descendants(os.getpid())),
            "duration_s": round(time.monotonic() - self.started, 3),
            "cpu_s": round(times[2] + times[3], 3),
        }
        try:
            write_atomically(self.spec["exit"], record, durable=True)
        except OSError as failure:
            say(f"cannot write {self.spec['exit']}: {failure.strerror}")

    def outcome(self, error: str) -> tuple[int | None, int | None]:
        """Exit code and signal, one of them None (both when the agent outlived KILL)."""
        if error:
            return 127 if "No such file" in error else 126, None
        if self.status is None:
            return None, None
        if os.WIFSIGNALED(self.status):
            return None, os.WTERMSIG(self.status)
        return os.WEXITSTATUS(self.status), None

    def die(self, error: str) -> NoReturn:
        """Exit with the agent's code, or by its signal without a core file of our own."""
        code, number = self.outcome(error)
        if number is not None:
            prctl(PR_SET_DUMPABLE, 0)
            attempt(signal.signal, number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.kill(os.getpid(), number)
        os._exit(REFUSED if code is None else code)


class Terminal:
    """The terminal among the descriptors 0 to 2. `inherited`: it is our controlling one; `foreground`: and our group is in front."""

    def __init__(self, fd: int) -> None:
        import termios

        self.fd = fd
        self.own_group = os.getpgrp()
        try:
            self.foreground = os.tcgetpgrp(fd) == self.own_group
            self.inherited = True
        except OSError:
            self.foreground = self.inherited = False
        self.saved = termios.tcgetattr(fd)

    @staticmethod
    def find() -> Terminal | None:
        """The first terminal among stdin, stdout and stderr."""
        for fd in (0, 1, 2):
            if os.isatty(fd):
                return Terminal(fd)
        return None

    def give_to(self, group: int) -> None:
        """Put a process group in front, if this terminal was ours to give."""
        if self.foreground:
            attempt(os.tcsetpgrp, self.fd, group)

    def take_as_agent(self) -> None:
        """In the agent before it executes: a group of its own in front, or a session of its own on a fresh terminal."""
        if self.inherited:
            os.setpgid(0, 0)
            self.give_to(os.getpid())
            return
        import fcntl
        import termios

        os.setsid()
        attempt(fcntl.ioctl, self.fd, termios.TIOCSCTTY, 0)

    def restore(self) -> None:
        """Take the terminal back as it was before the agent; it may be gone."""
        import termios

        self.give_to(self.own_group)
        try:
            termios.tcsetattr(self.fd, termios.TCSANOW, self.saved)
        except termios.error:
            pass


def become_agent(spec: dict[str, Any], terminal: Terminal | None, go: int, errors: int) -> NoReturn:
    """In the child: wait for the parent's word, then execute the agent. What goes wrong is written to `errors`."""
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if terminal is None:
            os.setsid()
        else:
            terminal.take_as_agent()
        if not os.read(go, 1):
            os._exit(NO_RECORD)
        redirect(spec)
        os.chdir(encode(spec["cwd"]))
        for number in signal.valid_signals():
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        env = {encode(key): encode(value) for key, value in spec["env"].items()}
        own: dict[bytes, bytes] = vars(os)["environ"]
        if terminal is not None and b"TERM" in own:
            env.setdefault(b"TERM", own[b"TERM"])  # only the runtime knows what its terminal understands
        execute([encode(word) for word in spec["argv"]], env)
    except (OSError, ValueError, LookupError, TypeError) as error:
        name = getattr(error, "filename", None) or spec["argv"][:1] or ""
        os.write(errors, f"{getattr(error, 'strerror', None) or error}: {decode(name)}".encode("utf-8", "replace"))
    os._exit(126)


def redirect(spec: dict[str, Any]) -> None:
    """Point stdin at its file; with an output file stdout and stderr at that, and stdin away from whatever the runtime had."""
    output = spec.get("output")
    source = spec.get("stdin") or ("/dev/null" if output else None)
    if source:
        os.dup2(os.open(encode(source), os.O_RDONLY | os.O_CLOEXEC), 0)
    if output:
        fd = os.open(encode(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.dup2(fd, 1)
        os.dup2(fd, 2)


def execute(argv: list[bytes], env: dict[bytes, bytes]) -> NoReturn:
    """Execute `argv`, looked up on the PATH of `env`; raises the most telling OSError."""
    if b"/" in argv[0]:
        os.execve(argv[0], argv, env)
    failure: OSError = FileNotFoundError(2, "No such file on PATH", argv[0])
    for place in env.get(b"PATH", b"/usr/local/bin:/usr/bin:/bin").split(b":"):
        try:
            os.execve((place or b".") + b"/" + argv[0], argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            failure = error
            failure.filename = (place or b".") + b"/" + argv[0]
    raise failure


def ignore(number: int, frame: object) -> None:
    """A handler that is never called: the signals are blocked and awaited."""


def await_signal(timeout_s: float | None) -> int:
    """The next of the awaited signals, or 0 when `timeout_s` passed (None: wait for ever)."""
    if hasattr(signal, "sigtimedwait"):
        info = signal.sigwaitinfo(AWAITED) if timeout_s is None else signal.sigtimedwait(AWAITED, max(timeout_s, 0.0))
        return 0 if info is None else info.si_signo
    if timeout_s is not None:
        signal.setitimer(signal.ITIMER_REAL, max(timeout_s, 0.001))
    number = int(signal.sigwait([*AWAITED, signal.SIGALRM]))
    signal.setitimer(signal.ITIMER_REAL, 0)
    return 0 if number == signal.SIGALRM else number


def descendants(root: int) -> set[int]:
    """All living processes below `root`, the orphans that the kernel handed to a subreaper included."""
    found: set[int] = set()
    todo = [root]
    while todo:
        news = [pid for pid in children_of(todo.pop()) if pid not in found]
        found.update(news)
        todo += news
    return {pid for pid in found if state_and_parent(pid)[0] not in "ZX"}


def children_of(pid: int) -> list[int]:
    """The children of all threads of a process, from `/proc`."""
    if exists(f"/proc/self/task/{os.getpid()}/children"):
        threads = names_in(f"/proc/{pid}/task")
        return [int(word) for thread in threads for word in read_proc(f"/proc/{pid}/task/{thread}/children").split()]
    everyone = [int(name) for name in names_in("/proc") if name.isdigit()]  # a kernel without that file
    return [child for child in everyone if state_and_parent(child)[1] == pid]


def state_and_parent(pid: int) -> tuple[str, int]:
    """State letter and parent of a process; ("X", 0) when it is gone."""
    fields = stat_fields(pid)
    return (fields[0], int(fields[1])) if fields else ("X", 0)


def stat_fields(pid: int) -> list[str]:
    """`/proc/<pid>/stat` from the state on (the name before it may hold anything); empty when it is gone."""
    return read_proc(f"/proc/{pid}/stat").decode("utf-8", "replace").rpartition(") ")[2].split()


def names_in(folder: str) -> list[str]:
    """What a folder holds; nothing when it is gone."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def read_proc(path: str) -> bytes:
    """A file of `/proc`; empty when its process is gone."""
    try:
        return read_file(path)
    except OSError:
        return b""


def send(pids: Iterable[int], *numbers: int) -> None:
    """Send signals to descendants, each held by a pidfd where there is one, and then proven to be ours still."""
    for pid in pids:
        try:
            held = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        except (OSError, AttributeError):
            held = -1
        if is_ours(pid):
            for number in numbers:
                attempt(os.kill, pid, number) if held < 0 else attempt(signal.pidfd_send_signal, held, number)
        if held >= 0:
            os.close(held)


def is_ours(pid: int) -> bool:
    """Whether the chain of parents of a process leads to this one."""
    me = os.getpid()
    while pid > 1 and pid != me:
        pid = state_and_parent(pid)[1]
    return pid == me


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot: with the boot id it makes a pid unmistakable. 0 without `/proc`."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else 0


def boot_id() -> str:
    """The kernel's name for this boot; "" without `/proc`."""
    return read_proc("/proc/sys/kernel/random/boot_id").decode().strip()


def prctl(option: int, value: int) -> None:
    """Linux `prctl`, without the 3 ms that the `ctypes` package takes; nothing where it does not exist."""
    if sys.platform == "linux":
        import _ctypes

        _ctypes.call_function(_ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl"), (option, value, 0, 0, 0))  # type: ignore[arg-type]


def poke(spec: dict[str, Any], what: str) -> None:
    """Tell the reconciler, if one listens; it would find out anyway."""
    if not spec.get("poke"):
        return
    import _socket

    sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    sender.setblocking(False)
    attempt(sender.sendto, f"{what} {spec['id']}".encode(), encode(spec["poke"]))
    sender.close()


def attempt(action: Callable[..., object], *arguments: object) -> None:
    """Do what may fail because its object is gone already."""
    try:
        action(*arguments)
    except OSError:
        pass


def write_atomically(path: str, record: dict[str, Any], durable: bool) -> None:
    """Replace `path` in one step; `durable` also survives a power loss."""
    target, temporary = encode(path), encode(f"{path}.{os.getpid()}.tmp")
    attempt(os.unlink, temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    data = memoryview(to_json(record).encode() + b"\n")
    while data:
        data = data[os.write(fd, data) :]
    if durable:
        os.fsync(fd)
    os.close(fd)
    os.rename(temporary, target)
    if durable:
        folder = os.open(target.rpartition(b"/")[0] or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)


def parse_json(text: str) -> Any:
    """The value of a JSON text; the C scanner alone, because the `json` package costs 6 ms."""
    from _json import make_scanner

    return make_scanner(JsonRules)(text, 0)[0]  # type: ignore[arg-type]


class JsonRules:
    """What the C scanner asks its decoder for."""

    strict = False
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner clears it


def to_json(value: object) -> str:
    """JSON of what a record holds: objects, lists, texts, numbers, truth values, None."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_json(key)}: {to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(to_json(item) for item in value) + "]"
    if isinstance(value, str):
        from _json import encode_basestring_ascii

        return str(encode_basestring_ascii(value))
    return {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else repr(value)


def encode(text: str) -> bytes:
    """Bytes for the kernel, whatever the locale."""
    return text.encode("utf-8", "surrogateescape")


def decode(name: object) -> str:
    """A file name of an error, for people."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def exists(path: str) -> bool:
    """Whether a path can be looked at."""
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def read_file(path: str) -> bytes:
    """The whole content of a file; a link or a FIFO in its place is an error, not a trap."""
    return read_all(os.open(encode(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))


def read_all(fd: int) -> bytes:
    """Everything until end of file; closes `fd`."""
    parts = []
    while part := os.read(fd, 1 << 16):
        parts.append(part)
    os.close(fd)
    return b"".join(parts)


if __name__ == "__main__":
    main(sys.argv[1])
