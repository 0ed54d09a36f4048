"""How often the 95 % interval of a run beside its baseline's trade-off curve holds the true difference.

python tests/benchmarks/trade_off_coverage.py --trials 400 --classes 100 --seeds 1 \
  --out tests/benchmarks/results/trade_off_coverage.jsonl

Models are simulated: a baseline whose logits hold the log prior, and a run of the same law, adjusted with SHIFT, in
which some of the wrong few-shot images are made right, so that it lies exactly GAP points of few-shot accuracy above
the curve. `--at-top` adjusts it with the tau of the highest many-shot accuracy instead, where that accuracy says
least about tau. Half of the noise of an image is the same in all models, as images are hard or easy; each seed has
biases of its own for each class.
"""

import itertools
from typing import Any

import numpy as np
from common import Line, add_line, lines_of, parser_of, table
from numpy.typing import NDArray

from vlltr_plugin.core.shot_groups import UPSTREAM
from vlltr_plugin.report.tradeoff import TradeOff, place
from vlltr_plugin.report.tradeoff.spans import hits_at, right_at

GAPS = (0.0, 0.5, 1.0)
CLASSES = (100, 2000)
IMAGES = (3, 5, 20)
SEEDS = (1, 3)
SHIFT = 0.5
RIVALS = 6
"""Classes that an image may be taken for."""

OWN, BIAS, POPULATION = 1.5, 0.3, 400_000
Floats = NDArray[np.float64]


class Task:
    """As many test images of each class; training images from 500 to 5."""

    def __init__(self, classes: int, images: int, generator: np.random.Generator) -> None:
        self.counts = np.round(500 * (5 / 500) ** (np.arange(classes) / (classes - 1))).astype(np.int64)
        self.labels = np.repeat(np.arange(classes), images)
        self.log_prior = np.log(self.counts / self.counts.max())
        self.rivals = generator.integers(classes, size=(len(self.labels), RIVALS))
        self.noise = generator.standard_normal((len(self.labels), RIVALS))
        self.many = self.counts[self.labels] >= UPSTREAM.many_from
        self.few = self.counts[self.labels] <= UPSTREAM.few_to

    def right(self, generator: np.random.Generator, shift: float, bias: float) -> Floats:
        """Smallest and largest tau at which each image is right, `[2, N]`, for a newly trained model."""
        of_class = bias * generator.standard_normal(len(self.counts))
        noise = self.noise + generator.standard_normal(self.noise.shape)
        gain = self.log_prior[self.rivals] - self.log_prior[self.labels, None]
        lead = (1 - shift) * gain - OWN + noise + of_class[self.rivals] - of_class[self.labels, None]
        crossing = np.divide(lead, gain, out=np.zeros_like(lead), where=gain != 0)
        start = np.where(gain > 0, crossing, -np.inf).max(axis=1)
        end = np.where(gain < 0, crossing, np.inf).min(axis=1)
        right = (start <= end) & ~((gain == 0) & (self.rivals != self.labels[:, None]) & (lead > 0)).any(axis=1)
        return np.where(right, [start, end], [[np.inf], [-np.inf]])


def trial(
    classes: int, images: int, seeds: int, shift: float, few_shot: float, generator: np.random.Generator
) -> list[dict[str, Any]]:
    """A test set and the models on it, for each true gap."""
    task = Task(classes, images, generator)
    bias = BIAS if seeds > 1 else 0.0
    baseline = [curve(task, task.right(generator, 0.0, bias)) for _ in range(seeds)]
    run = [task.right(generator, shift, bias) for _ in range(seeds)]
    chance = [generator.random(len(task.labels)) for _ in range(seeds)]
    found = []
    for gap in GAPS:
        better = []
        for right, own in zip(run, chance, strict=True):  # some of the images that are wrong at tau 0 become right
            lucky = task.few & ~hits_at(right, 0.0) & (own < gap / (100 - few_shot))
            better.append(curve(task, np.where(lucky, [[-np.inf], [np.inf]], right)))
        placed = place(better, baseline)
        for name, true in (("few", gap), ("overall", gap * float(task.few.mean()))):
            one, line = getattr(placed, name), {"gap": gap, "of": name}
            if one is not None:
                line["error"] = one.value - true
            if one is not None and one.low is not None:
                line |= {"held": one.low <= true <= one.high, "width": one.high - one.low}
            found.append(line)
    return found


def curve(task: Task, right: Floats) -> TradeOff:
    """Only what `place` looks at."""
    none = {"single": np.zeros((0, len(task.labels)), np.int16)}
    return TradeOff((), "counts", UPSTREAM, task.labels, task.counts, none, {"single": ()}, {"single": right})


def of_many_images(classes: int, bias: float, at_top: bool) -> tuple[float, float]:
    """Tau of the run, and its few-shot accuracy before it is made better."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(10):
        task = Task(classes, POPULATION // classes // 10, generator)
        found.append((task.right(generator, 0.0, bias), task.many, task.few))
    right, many, few = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    taus = np.linspace(-4, 1, 101)
    shift = float(taus[right_at(right[:, many], taus).argmax()]) if at_top else SHIFT
    return shift, 100 * float(hits_at(right[:, few], shift).mean())


def summary(found: list[dict[str, Any]], of: str) -> Line:
    """Coverage for each gap, mean width, bias for each gap, and the share without an interval."""
    own = [one for one in found if one["of"] == of]

    def mean(key: str, gap: float | None = None) -> float:
        known = [one[key] for one in own if gap in (None, one["gap"]) and key in one]
        return float(np.mean(known or [np.nan]))

    return {
        "of": of,
        "trials": len(own) // len(GAPS),
        "coverage": {str(gap): 100 * mean("held", gap) for gap in GAPS},
        "width": mean("width"),
        "bias": {str(gap): mean("error", gap) for gap in GAPS},
        "without": 100 * sum("held" not in one for one in own) / len(own),
    }


def tabled(lines: list[Line]) -> str:
    rows = []
    for line in lines:
        about = ["top" if line["at_top"] else line["tau"], *(line[key] for key in ("classes", "images", "seeds", "of"))]
        coverage = (f"{value:.1f}" for value in line["coverage"].values())
        rest = f"{line['width']:.1f}", f"{line['bias']['0.5']:+.2f}", f"{line['without']:.1f} %"
        rows.append([*about, line["trials"], *coverage, *rest])
    header = "| tau of the run | classes | images a class | seeds | of | trials | gap 0 | gap 0.5 | gap 1 |"
    header += " width | bias | no interval |"
    return table(header, rows)


def main() -> None:
    parser = parser_of(__doc__, required=True, help="JSON lines are appended here")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--at-top", action="store_true", help="the run has the curve's highest many-shot accuracy")
    options = parser.parse_args()
    for classes, seeds in itertools.product(options.classes, options.seeds):
        shift, few_shot = of_many_images(classes, BIAS if seeds > 1 else 0.0, options.at_top)
        for images in options.images:
            generator = np.random.default_rng([classes, images, seeds])
            trials = options.trials if classes * images * seeds < 20_000 else options.trials // 4
            found = [one for _ in range(trials) for one in trial(classes, images, seeds, shift, few_shot, generator)]
            about = {"classes": classes, "images": images, "seeds": seeds, "tau": shift, "at_top": options.at_top}
            for of in ("few", "overall"):
                add_line({**about, **summary(found, of)}, options.out)
            print(about, flush=True)
    print(tabled(lines_of(options.out)))


if __name__ == "__main__":
    main()
