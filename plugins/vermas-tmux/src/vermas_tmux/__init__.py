"""tmux sessions for VerMAS."""
