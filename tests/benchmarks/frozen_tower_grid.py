"""How far do the effects hang on rate, epochs and decay? And what is left when every family is tuned alike?

python tests/benchmarks/frozen_tower_grid.py --cache CACHE --seeds 5 --results grid.jsonl

A line is one seed under one setting, trained without a fifth of the training images, the validation images, and again
on all, tested on the test images: mean class accuracy of every method on both, and of `CURVES` at every tau of `TAUS`.
"""

from dataclasses import replace

from common import Line, complete, study_parser
from frozen_tower import Cell
from frozen_tower_curve import curve, point
from frozen_tower_methods import SETS

CELL = Cell.parse("cifar100-100-linear")
SETTINGS = ([0.03, 8, 0.0], [0.1, 12, 0.0], [0.1, 30, 5e-3])
"""Rate, epochs, weight decay."""

TAUS = [round(0.25 * step, 2) for step in range(25)]
CURVES = ("ce", "inverse", "dv", "inverse adjusted tau 1", "dv adjusted tau 1")


def main() -> None:
    options = study_parser(__doc__, seeds=5).parse_args()

    def run(setting: list[float], seed: int) -> Line:
        rate, epochs, decay = setting
        recipe = replace(CELL.recipe, learning_rate=rate, epochs=int(epochs), weight_decay=decay)
        line = {}
        for split in ("validation", "test"):
            data = CELL.data(options.cache, seed, validation=split == "validation")
            found = CELL.train(data, options.cache, SETS["grid"], recipe)
            about = data.test_labels, data.groups
            methods = {name: list(point(trained.logits, *about)) for name, trained in found.items()}
            curves = {name: curve(found[name].logits, *about, data.class_counts, TAUS) for name in CURVES}
            line[split] = {"methods": methods, "curves": {name: [each.all for each in curves[name]] for name in curves}}
        return line

    jobs = [{"setting": setting, "seed": seed} for seed in range(options.seeds) for setting in SETTINGS]
    complete(options.results, jobs, run)


if __name__ == "__main__":
    main()
