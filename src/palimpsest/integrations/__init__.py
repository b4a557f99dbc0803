"""Where users already work: evaluation harnesses and trainers that Palimpsest plugs into."""
