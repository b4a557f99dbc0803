"""Do pooled figures of cells hold what they promise? run.py says what must hold."""
