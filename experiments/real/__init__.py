"""Experiments on language models that nobody here made; README.md is the plan."""
