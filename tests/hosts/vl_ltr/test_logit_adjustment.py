"""`form="logit_adjustment"`: the class weights as margins in the host's losses, against naive float64 loops."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from host_steps import Call, expected_loss, expected_weights, parts_of, record_calls
from mini_host import CLASSES, COUNTS, MiniHost

ADJUSTED = {"type": "class_volume", "form": "logit_adjustment"}
DRAWS = [n**0.5 for n in COUNTS]  # of the sampler by 1/sqrt(n), up to a factor
SMOOTHING = 0.1
BRANCHES = ["image_text", "visual", "sum", "each", "single"]


def host_with(reweight: dict[str, object] | None, branch: str = "image_text", mixed: bool = True) -> MiniHost:
    two = branch != "single"
    settings = None if reweight is None else {**reweight, **({"branch": branch} if two else {})}
    return MiniHost(settings, two_branch=two, mixed=mixed)


def names_of(branch: str) -> tuple[str, ...]:
    return ("single",) if branch == "single" else ("visual", "image_text")


def adjusted_loss(call: Call, mixed: bool, log_alpha: list[float]) -> float:
    """Cross entropy of the logits minus log alpha, every constituent with its mass alone."""
    rows = [[value - own for value, own in zip(row, log_alpha, strict=True)] for row in call.logits.double().tolist()]
    parts = parts_of(call.targets, SMOOTHING if mixed else 0.0)
    return expected_loss(torch.tensor(rows, dtype=torch.double), parts, [1.0] * CLASSES, SMOOTHING).item()


@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "hard"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_each_epochs_losses_are_of_logits_minus_log_alpha_from_the_first_step_on(branch: str, mixed: bool) -> None:
    host = host_with(ADJUSTED, branch, mixed)
    calls = record_calls(host.criterion)
    host.attach()
    names = names_of(branch)
    log_alpha = {name: [-math.log(draws) for draws in DRAWS] for name in names}  # equal radii
    for epoch in range(3):
        calls.clear()
        summed = host.epoch(epoch)
        found = {name: calls[number :: len(names)] for number, name in enumerate(names)}
        for name, of_branch in found.items():
            expected = [adjusted_loss(call, mixed, log_alpha[name]) for call in of_branch]
            assert [call.loss.item() for call in of_branch] == pytest.approx(expected, rel=1e-5)
        steps = zip(*([call.loss.item() for call in of_branch] for of_branch in found.values()), strict=True)
        assert summed == pytest.approx([sum(step) for step in steps])
        # The statistics are those of the logits as they are.
        logits = {name: torch.cat([call.logits for call in of_branch]) for name, of_branch in found.items()}
        if branch == "sum":
            logits["sum"] = logits["visual"].double() + logits["image_text"].double()
        parts = [part for call in found[names[0]] for part in parts_of(call.targets, SMOOTHING if mixed else 0.0)]
        for name in names:
            feed = logits[name if branch == "each" else branch]
            log_alpha[name] = [math.log(alpha) for alpha in expected_weights(feed, parts, COUNTS, DRAWS)]
            assert max(log_alpha[name]) - min(log_alpha[name]) > 0.5


def attached(reweight: dict[str, object] | None, branch: str = "image_text") -> MiniHost:
    host = host_with(reweight, branch)
    host.attach()
    return host


def losses(reweight: dict[str, object] | None, epochs: int) -> list[list[float]]:
    host = attached(reweight)
    return [host.epoch(epoch) for epoch in range(epochs)]


def test_loss_weight_is_the_default_and_type_none_the_baseline_in_either_form() -> None:
    assert losses({"type": "class_volume"}, 2) == losses({"type": "class_volume", "form": "loss_weight"}, 2)
    assert losses({"type": "none", "form": "logit_adjustment"}, 2) == losses(None, 2)


def test_radii_wait_for_start_epoch_while_the_margins_of_equal_radii_hold() -> None:
    settings = {**ADJUSTED, "start_epoch": 1}, {**ADJUSTED, "start_epoch": 2}, {**ADJUSTED, "type": "inverse"}
    early, late, inverse = (losses(one, 3) for one in settings)
    assert early[0] == late[0] == pytest.approx(inverse[0])
    assert late[1] == pytest.approx(inverse[1])
    assert early[1] != pytest.approx(inverse[1], rel=1e-4)
    assert late[2] != pytest.approx(inverse[2], rel=1e-4)


def test_the_scale_of_alpha_does_not_matter() -> None:
    one, *others = (losses({**ADJUSTED, "normalize": scale}, 3) for scale in ("expected", "dataset", "mean"))
    for other in others:
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_counts_dataset_is_logit_adjustment_by_the_training_images_until_the_radii_apply() -> None:
    host = host_with({**ADJUSTED, "counts": "dataset"})
    calls = record_calls(host.criterion)
    host.attach()
    host.epoch(0)
    expected = [adjusted_loss(call, True, [-math.log(n) for n in COUNTS]) for call in calls]
    assert [call.loss.item() for call in calls] == pytest.approx(expected, rel=1e-5)


def test_log_and_arrays_hold_the_alpha_in_force_and_the_arrays_that_of_the_next_epoch(tmp_path) -> None:
    host, loss_weight = host_with({**ADJUSTED, "start_epoch": 2}), attached({"type": "class_volume"})
    host.args.output_dir = str(tmp_path)
    host.attach()
    alpha = [sum(DRAWS) / (CLASSES * draws) for draws in DRAWS]  # E(alpha) = 1 over the draws
    for epoch in range(3):
        host.epoch(epoch)
        names = ("reweight_alpha_min", "reweight_alpha_max", "reweight_expected_alpha")
        in_force = [host.stats[name] for name in names]
        assert (in_force == pytest.approx([min(alpha), max(alpha), 1], rel=1e-5)) == (epoch < 2)
    found = [np.load(tmp_path / "reweight" / f"epoch_{epoch:04d}.npz") for epoch in range(3)]
    for now, later in pairwise(found):
        assert now["weights_image_text"] == pytest.approx(alpha, rel=1e-5)
        assert now["next_weights_image_text"] == pytest.approx(later["weights_image_text"])
    assert found[2]["weights_image_text"] != pytest.approx(alpha, rel=0.01)
    loss_weight.epoch(0)
    assert host.stats.keys() == loss_weight.stats.keys()
    assert loss_weight.stats["reweight_alpha_max"] == 1


@pytest.mark.parametrize("branch", ["image_text", "each"])
def test_a_resumed_run_goes_on_to_the_last_bit(branch: str) -> None:
    whole, first, second = (attached(ADJUSTED, branch) for _ in range(3))
    for epoch in range(2):
        whole.epoch(epoch)
        first.epoch(epoch)
    second.model.load_state_dict(first.model.state_dict())
    second.hook.load(first.state())
    assert second.epoch(2) == whole.epoch(2)


@pytest.mark.parametrize(("saved", "here"), [("loss_weight", "logit_adjustment"), ("logit_adjustment", "loss_weight")])
def test_a_state_of_another_form_is_refused(saved: str, here: str) -> None:
    run, other = (attached({**ADJUSTED, "form": form}) for form in (saved, here))
    run.epoch(0)
    with pytest.raises(ValueError, match=f"form: saved '{saved}', here '{here}'"):
        other.hook.load(run.state())


@pytest.mark.usefixtures("host_datasets")
def test_a_clean_pass_feeds_margins_too() -> None:
    host = host_with({**ADJUSTED, "source": "clean_pass"})
    calls = record_calls(host.criterion)
    host.attach()
    host.epoch(0)
    with torch.no_grad():
        logits = host.model(host.dataset.data)[1]
    parts = [[(label, 1.0)] for label in host.dataset.targets]
    log_alpha = [math.log(alpha) for alpha in expected_weights(logits, parts, COUNTS, DRAWS)]
    calls.clear()
    host.epoch(1)
    found = [call.loss.item() for call in calls]
    assert found == pytest.approx([adjusted_loss(call, True, log_alpha) for call in calls], rel=1e-5)
