r"""A scripted agent: a real program that works in its checkout with git and ends with `vermas done`, as any agent would.

A rig runs it as its `script` agent: `command = fake_agent.command()`. Without a script it writes `<bead id>.txt`, commits and is done.
Otherwise the bead's description holds one, a step per line:

    ```agent
    write src/hello.py print("hello")
    first crash
    commit say hello
    done
    ```

`write FILE TEXT`, `append FILE TEXT` (`\n` in TEXT is a newline; one more ends it), `commit MESSAGE` (everything; nothing to commit is
fine), `done [ARGS]`, `vermas ARGS`, `git ARGS`, `run ARGS`, `print TEXT`, `read` (a line of stdin, printed), `sleep S`, `wait-for FILE`,
`exit N`, `crash` (SIGKILL to itself), `crash-once`, `forget-done-once` (exit 0), `ignore-term` (and HUP), `daemonise [PIDFILE]`
(a child that leaves the session and ignores HUP), `flood BYTES`, `resolve FILE TEXT`. `first STEP` runs in session 1 only,
`later STEP` in all others.

A prompt with the line `Merge this commit first: <commit>` is a rework: the commit is merged, the conflicts are settled by the `resolve`
steps, or by keeping both sides where the script has none, and the work is done again. The other steps are left out then.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

MERGE = "Merge this commit first: "
GIT = ("git", "-c", "user.name=Fake Agent", "-c", "user.email=fake-agent@localhost", "-c", "commit.gpgSign=false")


def command() -> list[str]:
    """The argv that runs this agent, for `[rigs.R.options.script] command`."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__)]


def script(description: str) -> list[str] | None:
    """The steps of the block in a description; None when there is no block."""
    lines = [line.strip() for line in description.splitlines()]
    if "```agent" not in lines:
        return None
    steps = lines[lines.index("```agent") + 1 :]
    if "```" in steps:
        steps = steps[: steps.index("```")]
    return [step for step in steps if step]


def commit_to_merge(prompt: str) -> str:
    """The commit that a rework prompt asks to merge, or ""."""
    asked = [line.strip()[len(MERGE) :].strip(" `.") for line in prompt.splitlines() if line.strip().startswith(MERGE)]
    return asked[-1] if asked else ""


def main() -> int:
    """Play the bead's script in the present directory."""
    bead = _bead()
    steps = script(bead["description"])
    merge = commit_to_merge(_read(os.environ.get("VERMAS_PROMPT_FILE", "")))
    if merge:
        steps = _rework(merge, [step for step in steps or () if step.startswith("resolve ")])
    elif steps is None:
        steps = [f"write {bead['id']}.txt {bead['title']}", f"commit {bead['id']}: {bead['title']}", "done"]
    else:
        steps = [step for step in steps if not step.startswith("resolve ")]
    for step in steps:
        _play(step)
    return 0


def _rework(commit: str, resolutions: list[str]) -> list[str]:
    """Merge, and the steps that complete it. A conflict leaves git's exit code 1 behind, which is what the steps are for."""
    options: list[str] = []
    if not resolutions:
        attributes = os.path.join(os.path.dirname(os.environ["VERMAS_PROMPT_FILE"]), "union.attributes")
        with open(attributes, "w") as file:
            file.write("* merge=union\n")
        options = ["-c", f"core.attributesFile={attributes}"]
    _spawn([*GIT, *options, "merge", "--no-edit", commit], ok=(0, 1))
    return [*resolutions, "commit settle the conflicts", "done"]


def _play(step: str) -> None:
    word, _, rest = step.partition(" ")
    first = os.environ.get("VERMAS_SESSION_NO", "1") == "1"
    if word in ("first", "later"):
        if first == (word == "first"):
            _play(rest)
    elif word in ("crash-once", "forget-done-once"):
        if first:
            _play("crash" if word == "crash-once" else "exit 0")
    elif word in STEPS:
        print(f"+ {step}", flush=True)
        STEPS[word](rest)
    else:
        sys.exit(f"fake agent: no step {word!r}; there is: {', '.join(sorted(STEPS))}")


def _write(rest: str, mode: str = "w") -> None:
    path, _, text = rest.partition(" ")
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, mode) as file:
        file.write(text.replace("\\n", "\n") + "\n")


def _append(rest: str) -> None:
    _write(rest, "a")


def _commit(message: str) -> None:
    _spawn([*GIT, "add", "-A"])
    merging = _spawn([*GIT, "rev-parse", "-q", "--verify", "MERGE_HEAD"], ok=(0, 1)) == 0
    if merging or _spawn([*GIT, "diff", "--cached", "--quiet"], ok=(0, 1)) == 1:
        _spawn([*GIT, "commit", "-q", "-m", message])


def _run(rest: str) -> None:
    import shlex

    _spawn(shlex.split(rest))


def _wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.02)


def _crash(_: str) -> None:
    os.kill(os.getpid(), 9)
    time.sleep(60)


def _exit(code: str) -> None:
    sys.exit(int(code or 0))


def _ignore_term(_: str) -> None:
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _daemonise(pid_file: str) -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        _ignore_term("")
        for number in (0, 1, 2, read_end):
            os.close(number)
        os.write(write_end, str(os.getpid()).encode())
        os.close(write_end)
        time.sleep(3600)
        os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    pid = os.read(read_end, 32).decode()
    os.close(read_end)
    print(f"daemon {pid}", flush=True)
    if pid_file:
        _write(f"{pid_file} {pid}")


def _flood(count: str) -> None:
    line, left = b"x" * 99 + b"\n", int(count)
    while left > 0:
        left -= os.write(1, (line * 600)[:left])


STEPS: dict[str, Callable[[str], object]] = {
    "write": _write,
    "append": _append,
    "resolve": _write,
    "commit": _commit,
    "done": lambda rest: _run(f"vermas done {rest}"),
    "vermas": lambda rest: _run(f"vermas {rest}"),
    "git": lambda rest: _run(f"git {rest}"),
    "run": _run,
    "print": lambda rest: print(rest, flush=True),
    "read": lambda _: print(f"read: {sys.stdin.readline().rstrip()}", flush=True),
    "sleep": lambda rest: time.sleep(float(rest)),
    "wait-for": _wait_for,
    "exit": _exit,
    "crash": _crash,
    "ignore-term": _ignore_term,
    "daemonise": _daemonise,
    "flood": _flood,
}


def _spawn(argv: list[str], ok: tuple[int, ...] = (0,)) -> int:
    """Run a program and wait; one that fails ends the agent with its exit code. (`subprocess` would double the start-up time.)"""
    sys.stdout.flush()
    _, status = os.waitpid(os.posix_spawnp(argv[0], argv, os.environ), 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in ok:
        print(f"fake agent: {' '.join(argv)}: exit code {code}", file=sys.stderr, flush=True)
        sys.exit(code if code > 0 else 128 - code)
    return code


def _bead() -> dict[str, str]:
    if "VERMAS_BEAD_FILE" in os.environ:
        bead: dict[str, str] = json.loads(_read(os.environ["VERMAS_BEAD_FILE"]))
        return bead
    return {"id": os.environ["VERMAS_BEAD"], "title": "a bead", "description": ""}


def _read(path: str) -> str:
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main())
