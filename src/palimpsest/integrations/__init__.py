"""Adapters to the tools that users have: evaluation harnesses, trainers, logs."""

__all__: list[str] = []
