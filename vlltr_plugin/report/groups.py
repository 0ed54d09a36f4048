"""The colour of each group of classes."""

COLOURS = {"many": "#0072B2", "medium": "#E69F00", "few": "#CC79A7", "overall": "#000000"}
"""Okabe and Ito's palette, safe for colour-blind readers; a group has the same colour in every picture."""
