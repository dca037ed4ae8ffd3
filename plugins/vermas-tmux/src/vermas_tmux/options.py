"""What a rig can set under `[rigs.R.options.tmux]`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`history_limit` is how many lines tmux keeps for whoever attaches; `log` writes the output to a file, of which about the last
    `log_bytes` are kept (without it nothing can be read after the end); `columns` and `lines` are the size of an unattached terminal;
    `submit_delay_s` is the pause between a pasted message and the Enter behind it, which some full-screen agents need."""

    history_limit: int = 2000
    log: bool = True
    log_bytes: int = 16 * 1024 * 1024
    columns: int = 200
    lines: int = 50
    submit_delay_s: float = 0.3
