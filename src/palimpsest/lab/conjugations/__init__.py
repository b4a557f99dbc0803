"""Conjugations of regression prompts, and ensembles of them."""
