"""What happens to one polecat, from the claim of its bead to the end of its slot.

Everything here is desired state in the database, an observation, and at most one idempotent effect at a time: whatever is killed at
whatever moment, the next pass goes on from what is true. Decisions belong to plugins.
"""
