"""Natural language inference: premises and hypotheses in parallel languages."""
