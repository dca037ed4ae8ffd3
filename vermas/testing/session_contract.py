"""The contract of session runtimes, as tests. Subclass it in the tests of a plugin that implements `vermas_session_start`.

    from vermas.testing.session_contract import SessionContract

    class TestMyRuntime(SessionContract):
        plugin = "my-runtime"            # the name of its entry point
        has_terminal = False             # what it cannot do, and says so in its documentation

Everything runs for real: the launches are wrapped in the supervisor as VerMAS does it, agents are small shell scripts. A thing that the
runtime cannot do and does not declare fails. Needs Linux and the fixtures that come with `vermas`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from vermas.testing.loading import default_options
from vermas.testing.plugin import LaunchFactory, PolecatFactory, RigFactory
from vermas.testing.session_bench import Bench
from vermas.testing.session_ending import EndCases
from vermas.testing.session_finding import FindCases
from vermas.testing.session_messages import MessageCases
from vermas.testing.session_output import OutputCases
from vermas.testing.session_starting import StartCases


class SessionContract(StartCases, EndCases, OutputCases, MessageCases, FindCases):
    """What every runtime must do; the class attributes declare what one cannot."""

    #: The plugin's entry-point name.
    plugin: ClassVar[str]
    #: The plugin's `Options` for these tests; None for its defaults.
    options: ClassVar[Any] = None
    #: The agent's input and output are a terminal.
    has_terminal: bool = True
    #: `vermas_session_send` works; False: it raises `Unsupported`.
    supports_send: bool = True
    #: A message reaches an agent that asked for bracketed paste as one paste.
    brackets_pastes: bool = True
    #: Output can be read after the end of the session.
    keeps_output: bool = True
    #: `Options` under which about `capped_bytes` of output are kept, at most twice as much; None: all of it is always kept.
    capped_options: Any = None
    capped_bytes: int = 0
    #: There is something besides the session itself (a server, a host) that may not answer: override `back_end_down`.
    has_back_end: bool = True
    #: How long anything may take before it counts as not happening; a busy machine is slow.
    deadline_s: float = 20.0

    @pytest.fixture
    def bench(self, tmp_path: Path, vermas_rig: RigFactory, vermas_polecat: PolecatFactory, vermas_launch: LaunchFactory) -> Bench:
        """Starts sessions of this plugin and asks about them."""
        options = default_options(self.plugin) if self.options is None else {self.plugin: self.options}
        return Bench(self.plugin, options, tmp_path, vermas_rig, vermas_polecat, vermas_launch, self.deadline_s)
