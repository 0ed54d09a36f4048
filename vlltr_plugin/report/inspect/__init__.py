"""The weights and radii of a run, from the arrays of its epochs."""
