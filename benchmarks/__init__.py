"""Ratios against peers, measured in one run on the same prompts, with equal answers asserted."""
