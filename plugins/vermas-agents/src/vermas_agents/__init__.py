"""Agent CLIs for VerMAS: script, claude."""
