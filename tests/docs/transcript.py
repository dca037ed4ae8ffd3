"""Pages whose code blocks are executed as a reader would: files are written, commands typed, what they print is compared."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A file to write, or a command and what it prints; `…` stands for anything, on a line of its own for any lines."""

    file: str = ""
    content: str = ""
    command: str = ""
    shown: tuple[str, ...] = ()


def steps(page: Path) -> list[Step]:
    """What a page tells to do: blocks with a file name behind the language are files, `console` blocks are sessions."""
    found = []
    for language, rest, body in _BLOCK.findall(page.read_text()):
        if rest.strip():
            found.append(Step(file=rest.strip(), content=body))
        elif language == "console":
            for part in body.removeprefix("$ ").split("\n$ "):
                command, *shown = part.rstrip("\n").split("\n")
                found.append(Step(command=command, shown=tuple(shown)))
    return found


def matches(shown: tuple[str, ...], printed: str) -> bool:
    """Whether the lines shown are what was printed. Widths of columns do not count."""
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(" ".join(line.split())).replace("…", ".*") + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(" ".join(line.split()) + "\n" for line in printed.splitlines())) is not None


def follow(page: Path, work: Path, variables: Mapping[str, str]) -> None:
    """Do everything that a page tells, beginning in `work`. Only commands whose output begins with `vermas: ` may fail."""
    here = work
    where = work.parent / "where"
    for step in steps(page):
        if step.file:
            place = here / step.file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(step.content)
            continue
        script = f"{step.command}\ncode=$?; pwd > {where}; exit $code"
        done = subprocess.run(
            ["bash", "-c", script], cwd=here, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        here = Path(where.read_text().rstrip("\n"))
        fails = bool(step.shown) and step.shown[0].startswith("vermas: ")
        assert (done.returncode != 0) is fails, f"$ {step.command}\n{done.stdout}"
        assert matches(step.shown, done.stdout), f"$ {step.command}\n{done.stdout}\nthe page says:\n" + "\n".join(step.shown)
