"""Two models compared after the fact, from logs of what each answered to the same items."""

from palimpsest.lm.compare.comparison import compare

__all__ = ["compare"]
