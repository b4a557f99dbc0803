"""Rank conjugations without labels: the score, its evidence, and the recommendation."""
