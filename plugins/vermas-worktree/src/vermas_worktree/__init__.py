"""git worktree and clone sandboxes for VerMAS."""
