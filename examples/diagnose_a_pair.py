"""Diagnose a pair from Python and read the typed result."""

import palimpsest

results = palimpsest.diagnose(
    base="rosetta:base",
    tuned="rosetta:tuned",
    suite="rosetta",
    via=["fr", "es"],
    limit=10,
)
print(f"{results.verdict}: {results.verdict_reason}")
for found in results.conjugations:
    print(f"{found.name}: recovery {found.recovery}, 95 % interval {found.recovery_ci95}")
