"""Tests of ``palimpsest.integrations.lm_eval``: in a folder that does not hide the harness."""
