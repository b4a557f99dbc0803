"""Runs of the laboratory: configuration, stages, sweeps, and the claims judged by them."""
