"""Language models: back ends, conjugations, suites, evaluation, diagnosis."""
