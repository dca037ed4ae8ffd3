"""The contract of sandbox providers, as tests. Subclass it in the tests of a plugin that implements `vermas_sandbox_create`.

    from vermas.testing.sandbox_contract import SandboxContract

    class TestMySandbox(SandboxContract):
        plugin = "my-sandbox"            # the name of its entry point

Everything runs on real git: the cases create sandboxes, work in them as agents do, and look at what the provider says and keeps. Needs the
fixtures that come with `vermas`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from vermas.testing.loading import default_options
from vermas.testing.plugin import OriginFactory, PolecatFactory, RigFactory
from vermas.testing.sandbox_bench import SandboxBench
from vermas.testing.sandbox_creating import CreateCases
from vermas.testing.sandbox_hostile import HostileCases
from vermas.testing.sandbox_looking import LookCases
from vermas.testing.sandbox_removing import RemoveCases
from vermas.testing.sandbox_saving import SaveCases


class SandboxContract(CreateCases, LookCases, SaveCases, RemoveCases, HostileCases):
    """What every provider must do."""

    #: The plugin's entry-point name.
    plugin: ClassVar[str]
    #: The plugin's `Options` for these tests; None for its defaults.
    options: ClassVar[Any] = None

    @pytest.fixture
    def sandboxes(
        self, tmp_path: Path, vermas_origin: OriginFactory, vermas_rig: RigFactory, vermas_polecat: PolecatFactory
    ) -> SandboxBench:
        """Makes sandboxes of this plugin and works in them."""
        options = default_options(self.plugin) if self.options is None else {self.plugin: self.options}
        return SandboxBench(self.plugin, options, tmp_path, vermas_origin, vermas_rig, vermas_polecat)
