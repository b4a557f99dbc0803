"""Abilities that people fear to lose when they tune a model: the suite ``abilities``."""
