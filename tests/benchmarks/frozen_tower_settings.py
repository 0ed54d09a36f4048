"""Epochs, learning rate and weight decay of a head, chosen on ce: mean class accuracy on images that do not train.

python tests/benchmarks/frozen_tower_settings.py --cache CACHE --cell cifar100-100-linear --epochs 8 12 \
  --rates 0.03 0.1 --results tests/benchmarks/results/frozen_tower_settings.jsonl

These are a fifth of the training images; in cells with random classes the test images of draws that no result uses.
"""

import itertools
from dataclasses import replace

from common import Line, complete, study_parser
from frozen_tower import Cell
from frozen_tower_curve import point

FIRST_SEED = 1000
"""Of the draws of cells with random classes."""


def main() -> None:
    parser = study_parser(__doc__, seeds=3)
    parser.add_argument("--cell", default="cifar100-100-linear")
    parser.add_argument("--epochs", type=int, nargs="+", required=True)
    parser.add_argument("--rates", type=float, nargs="+", required=True)
    parser.add_argument("--decays", type=float, nargs="+", default=[0.0])
    options = parser.parse_args()

    def run(cell: str, epochs: int, rate: float, decay: float, seed: int) -> Line:
        setting = Cell.parse(cell)
        recipe = replace(setting.recipe, epochs=epochs, learning_rate=rate, weight_decay=decay)
        data = setting.data(options.cache, seed, validation=True)
        ce = setting.train(data, options.cache, recipe=recipe)["ce"]
        return {"ce": point(ce.logits, data.test_labels, data.groups).all}

    first = FIRST_SEED if Cell.parse(options.cell).random else 0
    seeds = range(first, first + options.seeds)
    grid = itertools.product([options.cell], options.epochs, options.rates, options.decays, seeds)
    names = ("cell", "epochs", "rate", "decay", "seed")
    complete(options.results, [dict(zip(names, values, strict=True)) for values in grid], run)


if __name__ == "__main__":
    main()
