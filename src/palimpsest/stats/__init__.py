"""Statistics for paired binary outcomes: intervals, tests, recovery, multiplicity."""
