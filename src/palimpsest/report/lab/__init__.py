"""The report of a run of the laboratory."""
