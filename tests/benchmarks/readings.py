"""Smallest and largest weight, and E(alpha) over the draws, of the three readings of Eq. 6 and 16 with equal radii.

VLLTR_DATA=... python tests/benchmarks/readings.py
"""

from common import class_counts, table

from vlltr_plugin import InverseFrequency
from vlltr_plugin.core.epoch_statistics import expected_alpha

READINGS = {
    'counts="sampler", normalize="expected"': {},
    'counts="dataset", normalize="expected"': {"counts": "dataset"},
    'counts="dataset", normalize="dataset"': {"counts": "dataset", "normalize": "dataset"},
}


if __name__ == "__main__":
    rows = []
    for name in ("imagenet_lt", "places_lt", "inat2018"):
        counts, cells = class_counts(name).double(), []
        for options in READINGS.values():
            weighting = InverseFrequency(counts, draws=counts.sqrt(), **options)
            low, high = float(weighting.weights.min()), float(weighting.weights.max())
            cells.append(f"{low:.2f} to {high:.1f}, E {expected_alpha(weighting.weights, weighting.draws):.2f}")
        rows.append([name, *cells])
    print(table("| data set, 1/sqrt(n) sampler | " + " | ".join(f"`{name}`" for name in READINGS) + " |", rows))
