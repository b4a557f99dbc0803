"""Two models compared after the fact, from logs of what each answered to the same items."""

from palimpsest.judging.compare.comparison import compare

__all__ = ["compare"]
