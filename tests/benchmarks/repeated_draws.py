"""The log radius of a class whose few images are drawn again and again: how far off, and what does `debias` mend?

python tests/benchmarks/repeated_draws.py --npz cifar10_lt_100.npz --out repeated.jsonl runs.states/*warmup-ce*.pth

The states are those of `small_classes.py`. Of each class of 200 images or more, n images are drawn 9.4 sqrt(n) times
with replacement (as often as a 1/sqrt(n) sampler draws small classes), 500 times over. Their logits are those of the
images as they are, in evaluation mode (each draw of an image the same), or of random crops and flips in train mode
(each draw another, of 16); the radius to be found is that of all 200 images in the same mode.
"""

import numpy as np
import torch
from common import table, write_lines
from small_classes import KNOWN_FROM, TRIALS, loaded, log_radius, parsed, subsets

from vlltr_plugin.cifar_lt.batches import BORDER
from vlltr_plugin.core.moments import ClassMoments, log_sigma_bias

VIEWS = 16
SIZES = (2, 3, 5, 10, 20, 50)


def draws_of(size):
    return round(9.4 * size**0.5)


@torch.no_grad()
def logits_of(training, augmented, generator):
    """Logits of 200 images of each large class, `{class: [images, views, C]}`; nothing is learned."""
    batches = training.batches
    large = (batches.class_counts >= KNOWN_FROM).nonzero().flatten().tolist()
    index = torch.cat([(batches._labels == label).nonzero().flatten()[:KNOWN_FROM] for label in large])
    training.model.train(augmented)
    views = []
    for _ in range(VIEWS if augmented else 1):
        rows = torch.zeros(len(index), batches.num_classes)
        for part in torch.randperm(len(index), generator=generator).split(100):
            corner, flip = torch.full((len(part), 2), BORDER), torch.zeros(len(part), dtype=torch.bool)
            if augmented:
                corner = torch.randint(2 * BORDER + 1, (len(part), 2), generator=generator)
                flip = torch.rand(len(part), generator=generator) < 0.5
            images = batches._crops(index[part][None], corner[None], flip[None])[0]
            rows[part] = training.model(images.permute(0, 3, 1, 2))[0][0]
        views.append(rows)
    of_class = torch.stack(views, dim=1).double().numpy().reshape(len(large), KNOWN_FROM, len(views), -1)
    return dict(zip(large, of_class, strict=True))


def errors_of(logits, rng):
    """A line for each class and number of images."""
    for label, rows in logits.items():
        known = float(log_radius(rows.reshape(-1, rows.shape[-1])))
        for size in SIZES:
            number = draws_of(size)
            chosen = subsets(len(rows), size, rng)
            image = np.take_along_axis(chosen, rng.integers(0, size, (TRIALS, number)), axis=1)
            drawn = rows[image, rng.integers(0, rows.shape[1], image.shape)]
            bias = float(np.nanmean(log_radius(drawn)) - known)
            yield {"class": label, "n": size, "draws": number, **corrected(bias, size, number)}


def corrected(bias, size, number):
    """Errors of a log radius: of the draws taken for as many images, with the variance of the images, and debiased."""
    n, m = (torch.tensor([float(value)], dtype=torch.float64) for value in (size, number))
    moments = ClassMoments(1, 1, torch.device("cpu"))
    moments.mass, moments.mass_squared = m, m  # of whole samples
    radius = bias + float(((m - 1) / moments.degrees_of_freedom(n)).log()) / 2
    return {"bias": bias, "radius": radius, "debiased": radius + float(log_sigma_bias(torch.minimum(n, m)))}


def tabled_normal(classes=100_000):
    """The same for normal logits whose draws repeat exactly, by simulation."""
    rows, rng = [], np.random.default_rng(0)
    for size in SIZES:
        number = draws_of(size)
        images = rng.standard_normal((classes, size))
        drawn = np.take_along_axis(images, rng.integers(0, size, (classes, number)), axis=1)
        errors = corrected(float(np.nanmean(log_radius(drawn[..., None]))), size, number)
        rows.append([size, number, *(f"{error:+.3f}" for error in errors.values())])
    header = "| n | m | m draws taken for m images | variance of n (the default) | with `debias` |"
    return table(header, rows)


def tabled(lines):
    """Means over the classes."""
    rows = []
    for size in SIZES:
        for augmented, kind in ((False, "the same"), (True, "augmented")):
            own = [line for line in lines if line["n"] == size and line["augmented"] is augmented]
            means = (f"{np.mean([line[key] for line in own]):+.3f}" for key in ("bias", "radius", "debiased"))
            rows.append([size, draws_of(size), kind, *means])
    header = "| n | draws | draws of an image | m draws taken for m images | variance of n | with `debias` |"
    return table(header, rows)


def main():
    options, lines = parsed(__doc__), []
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    for number, training in loaded(options):
        for augmented in (False, True):
            about = {"state": number, "epochs": training.epoch, "augmented": augmented}
            lines += [about | line for line in errors_of(logits_of(training, augmented, generator), rng)]
    write_lines(lines, options.out)
    print(tabled(lines))


if __name__ == "__main__":
    main()
