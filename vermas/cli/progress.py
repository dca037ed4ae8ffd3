"""Live progress of a run: a picture on a terminal, a line per event elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from vermas.cli.events import line, sentence
from vermas.cli.output import age, one_line
from vermas.cli.polecatview import state
from vermas.run import Run
from vermas.store import Store, events, polecats
from vermas.town import Town
from vermas.types import Event, to_json

if TYPE_CHECKING:
    from rich.console import RenderableType

_REFRESH_S = 0.25
_RECOUNT_S = 1.0
#: Lines of the picture that are no polecat's.
_FRAME_LINES = 4
#: Events that stay on the screen.
_ABOVE = ("landed", "held", "no-change", "rework", "escalated", "deferred", "sandbox-lost", "incident-opened", "plugin-failed")


class Display(Protocol):
    """Shows events as they come; a context manager."""

    def event(self, event: Event) -> None:
        """Something happened."""

    def tick(self) -> None:
        """Time has passed."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def choose_display(run: Run, town: Town, as_json: bool) -> Display:
    """JSON lines when asked for, a live picture on a terminal, plain lines otherwise."""
    if as_json:
        return JsonLines()
    return Live(run, town) if sys.stdout.isatty() else Lines()


class Lines:
    """A line per event."""

    def event(self, event: Event) -> None:
        """Print it."""
        print(line(event), flush=True)

    def tick(self) -> None:
        """Nothing changes with time alone."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class JsonLines(Lines):
    """A JSON object per event."""

    def event(self, event: Event) -> None:
        """Print it."""
        print(json.dumps(to_json(event)), flush=True)


class Live:
    """One line per polecat with state, bead, elapsed time and last event, above a bar over the beads."""

    def __init__(self, run: Run, town: Town) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._run = run
        self._store = Store(town.db)
        self._last: dict[str, Event] = {}
        self._drawn = 0.0
        self._counted = 0.0
        self._landed = (0, 0)
        self._live = RichLive(console=Console(), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.__exit__(kind, error, trace)
        self._store.close()

    def event(self, event: Event) -> None:
        """Remember it for its polecat's line; what matters later stays above the picture."""
        self._last[event.polecat_id] = event
        if event.kind in _ABOVE:
            from rich.text import Text

            self._live.console.print(Text(line(event)))
        if time.monotonic() - self._drawn > _REFRESH_S:
            self.tick()

    def tick(self) -> None:
        """Draw the picture."""
        self._drawn = time.monotonic()
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("polecat", "bead", "state", "elapsed", "last"):
            table.add_column(name, no_wrap=name != "last")
        rows = polecats.living(self._store.read)
        room = max(1, self._live.console.height - _FRAME_LINES)
        for row in rows[:room]:
            session = polecats.session(self._store.read, row["id"], row["session_no"])
            last = self._last_of(row["id"])
            table.add_row(
                Text(one_line(f"{row['rig']}/{row['slot']} {row['id']}")),
                Text(one_line(row["bead_id"])),
                Text(state(self._store, row, session)),
                Text(age(time.time() - row["created_at"])),
                Text(f"{age(time.time() - last.at)} ago: {sentence(last)}" if last else "", no_wrap=True, overflow="ellipsis"),
            )
        more = [Text(f"… and {len(rows) - room} more")] if len(rows) > room else []
        good, chosen = self._count()
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=max(1, chosen), completed=good, width=40), Text(f"{good} of {chosen} beads landed"))
        return Group(table, *more, bar)

    def _last_of(self, polecat_id: str) -> Event | None:
        """A polecat's newest event, also one from before this run."""
        if polecat_id not in self._last and (rows := events.about(self._store.read, polecat_id=polecat_id)):
            self._last[polecat_id] = events.view(rows[-1])
        return self._last.get(polecat_id)

    def _count(self) -> tuple[int, int]:
        """How many of the chosen beads have landed, and how many there are; with many beads this takes longer than drawing."""
        if time.monotonic() - self._counted > _RECOUNT_S:
            outcomes = self._run.outcomes()
            self._landed = (sum(outcome.good for outcome in outcomes), len(outcomes))
            self._counted = time.monotonic()
        return self._landed
