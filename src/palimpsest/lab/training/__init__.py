"""Pretraining and tuning of the laboratory's models, with remedies against forgetting."""
