"""An example of a package that adds to Palimpsest; its entry points are in pyproject.toml."""
