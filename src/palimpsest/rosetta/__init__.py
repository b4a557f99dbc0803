"""Rosetta: a small pair of base and tuned models that comes with the package."""
