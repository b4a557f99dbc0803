"""Does the verdict predict the cure? README.md is the plan."""
