"""Logs of evaluations that others wrote, read for a comparison. No science in here."""

from palimpsest.integrations.logs.formats import read_run

__all__ = ["read_run"]
