"""Same seeds, same machine: the same bits, with one thread and with two."""

from typing import Any

import pytest
import torch
from faults.recovery import same_bits, visible_files_are_whole
from faults.runs import StandIn
from mini_host import trained

from vlltr_plugin import ClassVolume

VARIANTS = ["dv", "bv", "pv"]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_repeated_has_the_same_bits(standin: StandIn, threads: int) -> None:
    found = []
    for name in (f"threads_{threads}_a", f"threads_{threads}_b"):
        standin.train(name, 2, threads=threads)
        checkpoint = visible_files_are_whole(standin.folder(name))
        assert checkpoint is not None
        found.append(checkpoint["model"] | checkpoint["reweight"]["weightings"]["image_text"])
    assert {"weights", "log_radius64", "substituted", "draws"} <= found[0].keys()
    for key, value in found[0].items():
        assert not isinstance(value, torch.Tensor) or same_bits(value, found[1][key]), key


def statistics(variant: str, mixed: bool, threads: int) -> bytes:
    """Radii and weights of made-up logits, with a number of threads."""
    classes = 365 if variant != "pv" else 40
    generator = torch.Generator().manual_seed(0)
    torch.set_num_threads(threads)
    try:
        weighting = ClassVolume([100] * classes, variant=variant)
        for _ in range(8):
            logits = 9 * torch.randn(256, classes, generator=generator)
            labels = torch.randint(classes, (256,), generator=generator)
            hard = torch.nn.functional.one_hot(labels, classes).float()
            weighting.observe(logits, 0.7 * hard + 0.3 * hard.flip(0) if mixed else labels)
        weighting.end_epoch()
        return weighting.log_radius64.numpy().tobytes() + weighting.weights.numpy().tobytes()
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_logits_give_the_same_bits_with_any_number_of_threads(variant: str, mixed: bool) -> None:
    assert len({statistics(variant, mixed, threads) for threads in (1, 2, 3, 1)}) == 1


@pytest.mark.parametrize(
    "reweight",
    [
        *({"type": "class_volume", "variant": variant} for variant in VARIANTS),
        {"type": "class_volume", "branch": "each", "assign": "mass", "debias": True},
        {"type": "effective_number"},
    ],
    ids=str,
)
def test_training_runs_with_deterministic_algorithms_and_gives_the_same_bits(reweight: dict[str, Any]) -> None:
    found = []
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        try:
            host = trained(reweight, 2)
        finally:
            torch.use_deterministic_algorithms(False)
        found.append([host.losses, {key: value for key, value in host.stats.items() if key != "reweight_seconds"}])
    assert found[0] == found[1]
