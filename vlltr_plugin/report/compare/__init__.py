"""Runs beside a baseline, from what VL-LTR itself writes."""
