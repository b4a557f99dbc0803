"""Scorers: which task an answer belongs to."""
