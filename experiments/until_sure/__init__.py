"""Is `--until-sure` right at any time, and what does it save? README.md is the plan."""
