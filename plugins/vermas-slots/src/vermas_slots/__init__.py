"""Numbered slots for VerMAS polecats."""
