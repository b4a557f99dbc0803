"""Where users already work: evaluation harnesses and trainers that Palimpsest plugs into."""

__all__: list[str] = []
