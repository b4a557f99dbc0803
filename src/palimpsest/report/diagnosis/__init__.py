"""The report of a diagnosis: figures, tables, and one HTML page."""
