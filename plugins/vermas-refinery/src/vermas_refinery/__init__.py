"""Merge, check and land for VerMAS."""
