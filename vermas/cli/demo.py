"""`vermas demo`: eight beads, two rigs, a crash, a forgotten `done` and a conflict, in a temporary town; through the same code as `run`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time

import click

from vermas.beads import dependencies
from vermas.cli.output import one_line
from vermas.cli.run import drive
from vermas.config import load
from vermas.configedit import set_value
from vermas.git import run
from vermas.rigs import add
from vermas.store import Store, beads
from vermas.store.timestamps import format_us, now_us
from vermas.town import Town, create

#: The agent of the demo. What it shall do is on the line `demo: …` of the bead, which its prompt carries.
_AGENT = """\
#!/bin/sh
# A coding agent for the demo: it reads its prompt, changes files, commits and says that it is done.
set -eu
order=$(sed -n 's/^demo: //p' "$VERMAS_PROMPT_FILE")
merge=$(sed -n 's/^Merge this commit first: //p' "$VERMAS_PROMPT_FILE")
file=${order#* }
echo "session $VERMAS_SESSION_NO of $VERMAS_BEAD: $order"
if [ -n "$merge" ]; then
    # sent back because of a conflict: keep both sides
    git merge -q "$merge" >/dev/null 2>&1 || {
        sed -i.orig '/^<<<<<<<\\|^=======\\|^>>>>>>>/d' "$file"
        rm -f "$file.orig"
        git commit -qam "Merge what landed before"
    }
    exec vermas done
fi
if ! grep -qs "$VERMAS_BEAD" "$file"; then
    echo "written for $VERMAS_BEAD" >> "$file"
    git add "$file"
fi
case $order in
crash*) if [ "$VERMAS_SESSION_NO" = 1 ]; then kill -9 $$; fi ;;
esac
git commit -qm "$VERMAS_BEAD: $file" || true
case $order in
forget*) if [ "$VERMAS_SESSION_NO" = 1 ]; then exit 0; fi ;;
slow*) until [ "$(git -C "$(dirname "$0")/web" rev-list --count main)" -gt 1 ]; do sleep 0.05; done ;;
esac
exec vermas done
"""

#: (rig, name, title, what the agent does, names of the beads it depends on)
_BEADS = (
    ("api", "models", "Write the models", "write models.txt", ()),
    ("api", "routes", "Write the routes", "write routes.txt", ("models",)),
    ("api", "crash", "Survive a crash in the middle of the work", "crash storage.txt", ()),
    ("api", "forget", "Forget to say that it is done", "forget notes.txt", ()),
    ("web", "one", "Change the shared page", "write page.txt", ()),
    ("web", "two", "Change the shared page at the same time", "slow page.txt", ()),
    ("web", "client", "Write the client of the routes", "write client.txt", ("routes",)),
    ("web", "release", "Write the release notes", "write release.txt", ("client", "crash", "forget")),
)


@click.command()
@click.option("--keep/--no-keep", default=True, help="Keep the directory to look at (default).")
def demo(keep: bool) -> None:
    """Watch eight beads land in a temporary town, without network or model.

    Two rigs (one on tmux if it is installed), dependencies between them, an agent that crashes, one that forgets to say `done`, two that
    change the same line. All of it lands.
    """
    began = time.monotonic()
    root = tempfile.mkdtemp(prefix="vermas-demo-")
    town = prepare(root)
    print(f"A town with two rigs and eight beads in {root}\n")
    try:
        drive(town, load(town), {"api": None, "web": None})
    finally:
        for rig in ("api", "web"):
            print(f"\n{rig}, branch main at its origin:")
            print(_git(os.path.join(root, rig), "log", "--graph", "--oneline", "main").rstrip())
    print(f"\nAll of it is in {root}: the origins api and web, and the town in {one_line(town.root)}.")
    print(f"Look: vermas -C {town.root} why api-crash   Took {time.monotonic() - began:.1f} s.")
    _end_tmux(town)
    if not keep:
        shutil.rmtree(root, ignore_errors=True)


def prepare(root: str) -> Town:
    """The demo's origins, town, rigs and beads."""
    agent = os.path.join(root, "agent.sh")
    with open(agent, "w", encoding="utf-8") as file:
        file.write(_AGENT)
    os.chmod(agent, 0o700)
    town = create(os.path.join(root, "town"), "demo")
    runtimes = {"api": "process", "web": "tmux" if shutil.which("tmux") else "process"}
    for rig, runtime in runtimes.items():
        origin = _origin(os.path.join(root, rig), rig)
        plugins = ["slots", "worktree", runtime, "script", "watchdog", "refinery"]
        add(town, rig, origin, prefix=rig, check="test -f README.txt", agent="script", plugins=plugins)
        set_value(town, f"rigs.{rig}.options.script.command", json.dumps([agent]))
    _file_beads(town)
    return town


def _origin(path: str, name: str) -> str:
    """A bare repository with one commit."""
    _git(None, "init", "-q", "--bare", "--initial-branch=main", path)
    blob = _git(path, "hash-object", "-w", "--stdin", feed=f"The {name} of the demo.\n").strip()
    page = _git(path, "hash-object", "-w", "--stdin", feed="").strip()
    tree = _git(path, "mktree", feed=f"100644 blob {blob}\tREADME.txt\n100644 blob {page}\tpage.txt\n").strip()
    commit = _git(path, "commit-tree", tree, "-m", f"Begin {name}").strip()
    _git(path, "update-ref", "refs/heads/main", commit)
    return path


def _file_beads(town: Town) -> None:
    store = Store(town.db)
    with store.write() as db:
        for rig, name, title, order, _ in _BEADS:
            stamp = format_us(now_us())
            record = {
                "id": f"{rig}-{name}",
                "title": title,
                "description": f"demo: {order}",
                "status": "open",
                "priority": 2,
                "issue_type": "task",
                "created_at": stamp,
                "updated_at": stamp,
            }
            beads.insert(db, rig, record)
        homes = {name: rig for rig, name, _, _, _ in _BEADS}
        for rig, name, _, _, needs in _BEADS:
            for need in needs:
                dependencies.add(db, f"{rig}-{name}", f"{homes[need]}-{need}")
    store.close()


def _git(repository: str | None, *args: str, feed: str = "") -> str:
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "demo"), ("EMAIL", "demo@vermas.invalid"))
    }
    return run(repository, *args, input=feed.encode(), env=who).text


def _end_tmux(town: Town) -> None:
    """The demo's own tmux server has nothing left to do."""
    if shutil.which("tmux") and os.path.exists(town.tmux_socket):
        subprocess.run(["tmux", "-S", town.tmux_socket, "kill-server"], capture_output=True, check=False)
