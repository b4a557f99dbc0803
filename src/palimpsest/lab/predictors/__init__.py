"""Predictors of the next label: exact Bayes estimators and transformers, called alike."""
