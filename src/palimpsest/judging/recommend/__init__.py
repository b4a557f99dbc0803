"""Conjugations ranked without labels: the score, its evidence, and the recommendation."""
