"""Made-up lines of a results file."""


def run(method, seed, last, best=None, **changes):
    """A finished run."""
    return {
        "dataset": "cifar10", "imbalance": 100, "epochs": 200, "start_epoch": 160, "sampler": "uniform", "mixup": 0.0,
        "batch_size": 100, "amp": False, "method": method, "seed": seed, "last_error": last,
        "best_error": last - 1 if best is None else best, "group_errors": {"many": last - 10, "medium": last + 20},
        "weights": [0.5, 2.0], "log_radius": [0.0, 1.0] if method.startswith("dv") else None, **changes,
    }  # fmt: skip
