"""Runs beside a baseline, from what the host itself writes."""
