"""Lists, images, classes and sentences: are they there, and do they fit each other?"""

from vlltr_plugin.check.results import SkipError
from vlltr_plugin.core.arguments import listed
from vlltr_plugin.errors import ReportError
from vlltr_plugin.hosts.vl_ltr.checkout_modules import said_by_host
from vlltr_plugin.hosts.vl_ltr.checks.planned import Planned
from vlltr_plugin.training.draws import class_counts_of

SAMPLE = 32
"""Images opened of each split, evenly spaced over its list."""


def look_at_list(run: Planned, split: str) -> str:
    """Builds a split with the host's code, and keeps it."""
    with said_by_host(f"building the {split} set"):
        data_set, classes = run.modules["datasets"].build_dataset(split=split, args=run.args)
        images = len(data_set)
    if not images:
        raise ReportError(f"Expected images in the {split} set but its list is empty.")
    if split == "train":
        run.args.nb_classes = classes
        batch = int(run.args.batch_size)
        if images < batch:
            raise ReportError(f"Expected at least one batch of {batch} but the training set has {images} images.")
    run.data_sets[split] = data_set
    return f"{images} images"


def look_at_images(run: Planned) -> str:
    """Opens a sample of every split as the host would."""
    if not run.data_sets:
        raise SkipError("there is no list to take images from")
    tried, bad = 0, []
    for split, data_set in run.data_sets.items():
        number = min(SAMPLE, len(data_set))
        for index in [position * len(data_set) // number for position in range(number)]:
            tried += 1
            try:
                with said_by_host(f"reading image {index} of the {split} set"):
                    data_set[index]
            except (ReportError, OSError) as error:
                bad.append(str(error))
    if bad:
        raise ReportError(f"{len(bad)} of {tried} images tried cannot be read; the first: {bad[0]}")
    return f"{tried} opened, evenly spaced over {', '.join(run.data_sets)}"


def look_at_classes(run: Planned) -> str:
    """Labels of all splits against the class count."""
    counts = class_counts_of(run.data_sets["train"].targets, run.classes)
    trained = counts > 0
    notes = []
    for split, data_set in run.data_sets.items():
        try:
            present = class_counts_of(data_set.targets, run.classes) > 0
        except ValueError as error:
            raise ReportError(f"In the {split} set: {error}") from error
        untrained = (present & ~trained).nonzero().flatten().tolist()
        if untrained:
            notes.append(f"; {split} has images of {len(untrained)} classes that are not trained ({listed(untrained)})")
    of = f"{run.classes} classes" if bool(trained.all()) else f"{int(trained.sum())} of {run.classes} classes"
    return f"{of} have training images, from {int(counts[trained].min())} to {int(counts.max())}" + "".join(notes)


def look_at_sentences(run: Planned) -> str:
    """How many each class has."""
    counts = getattr(run.data_sets["train"], "end_idxs", None)
    if counts is None:
        raise SkipError("the training set counts no sentences (`end_idxs`)")
    if len(counts) != run.classes:
        raise ReportError(
            f"Expected sentences for {run.classes} classes but found them for {len(counts)}: the texts (or their "
            "cache in cached/) belong to another data set."
        )
    without = [label for label, count in enumerate(counts) if count < 1]
    if without:
        raise ReportError(
            f"Expected sentences for every class but {len(without)} have none ({listed(without)}): their logits would "
            "not be finite."
        )
    each = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(min(counts))
    return f"{sum(counts)}, {each} for each of {len(counts)} classes"
