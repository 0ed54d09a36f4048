"""Smallest and largest weight, and E(alpha) over the draws, of the three readings of Eq. 6 and 16 with equal radii.

VLLTR_DATA=... python tests/benchmarks/readings.py
"""

import json
import os
from pathlib import Path

import torch

from vlltr_plugin import InverseFrequency
from vlltr_plugin.core.epoch_statistics import expected_alpha

READINGS = {
    'counts="sampler", normalize="expected"': {},
    'counts="dataset", normalize="expected"': {"counts": "dataset"},
    'counts="dataset", normalize="dataset"': {"counts": "dataset", "normalize": "dataset"},
}


def main():
    path = Path(os.environ.get("VLLTR_DATA", ".")) / "class_counts.json"
    if not path.is_file():
        raise SystemExit(
            "Expected VLLTR_DATA to name a folder with class_counts.json, see the README of the benchmarks."
        )
    data = json.loads(path.read_text())
    print("| data set, 1/sqrt(n) sampler | " + " | ".join(f"`{name}`" for name in READINGS) + " |")
    print("| --- |" + " --- |" * len(READINGS))
    for name in ("imagenet_lt", "places_lt", "inat2018"):
        counts = torch.tensor(data[name], dtype=torch.float64)
        cells = []
        for options in READINGS.values():
            weighting = InverseFrequency(counts, draws=counts.sqrt(), **options)
            low, high = float(weighting.weights.min()), float(weighting.weights.max())
            cells.append(f"{low:.2f} to {high:.1f}, E {expected_alpha(weighting.weights, weighting.draws):.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
