"""The contract that every runtime keeps."""

from __future__ import annotations

from vermas_process import Options

from vermas.testing.session_contract import SessionContract


class TestProcessRuntime(SessionContract):
    plugin = "process"
    has_back_end = False
    capped_options = Options(log_bytes=100_000)
    capped_bytes = 100_000
