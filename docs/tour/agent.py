"""An agent without a model: applies the patch that its bead holds, runs the tests that the bead names, and commits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


def call(*words: str, ok: tuple[int, ...] = (0,), **options: Any) -> int:
    done = subprocess.run(words, text=True, check=False, **options)
    if done.returncode not in ok:
        sys.exit(f"{words[0]} {words[1]} failed")
    return done.returncode


bead = json.loads(Path(os.environ["VERMAS_BEAD_FILE"]).read_text())
prompt = Path(os.environ["VERMAS_PROMPT_FILE"])
print(f"{bead['id']}: {bead['title']}")

if landed := re.search(r"^Merge this commit first: (\w+)", prompt.read_text(), re.MULTILINE):  # back from a conflict
    attributes = prompt.with_name("both-sides")
    attributes.write_text("* merge=union\n")
    call("git", "-c", f"core.attributesFile={attributes}", "merge", "--no-edit", landed[1])
else:
    patch = re.split(r"^```(?:diff)?\n", bead["description"], flags=re.MULTILINE)[1]
    if call("git", "apply", "--reverse", "--check", input=patch, ok=(0, 1), stderr=subprocess.DEVNULL):  # not applied yet
        call("git", "apply", input=patch)

tests = bead["acceptance_criteria"].split()
if call(sys.executable, "-m", "pytest", "-q", *tests, env={**os.environ, "PYTHONPATH": "src"}, ok=(0, 1)):
    call("vermas", "done", "--exit", "escalated", "-m", f"my change breaks {' '.join(tests)}")
else:
    call("git", "add", "--all")
    call("git", "commit", "--quiet", "--message", f"{bead['title']} ({bead['id']})", ok=(0, 1))
    call("vermas", "done")
