"""``python -m palimpsest`` is the command ``palimpsest``."""

from palimpsest.cli.main import main

main()
