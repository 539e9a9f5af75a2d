"""Rounds: make a medical reasoning model on your own machines, and prove that no step lost anything."""

__version__ = "0.1.0"
