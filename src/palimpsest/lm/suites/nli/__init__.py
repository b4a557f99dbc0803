"""Natural language inference: premises and hypotheses in parallel languages."""

__all__: list[str] = []
