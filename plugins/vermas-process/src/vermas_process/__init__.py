"""Agent sessions without tmux for VerMAS."""
