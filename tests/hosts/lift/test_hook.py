"""The loss that LIFT's trainer gets, against a float64 loop; what `attach` notices; models that return more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checking import check
from hosts.lift.conftest import Build, Make, change
from oracles import mean_loss, weights_of
from torch import nn

from vlltr_plugin.hosts.lift import attach


@pytest.fixture
def trainer(build: Build, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A trainer of the stand-in, of class volume, that has not trained yet; `attach` is not called."""

    def make(**options: Any) -> Any:
        start = build(num_epochs=0, **{"reweight_type": "class_volume", **options})
        monkeypatch.setattr("vlltr_plugin.hosts.lift.attach", lambda trainer: None)
        made = start()
        made.cfg.num_epochs = 2
        return made

    return make


def log_radii(made: Any) -> np.ndarray:
    """Of the unaugmented training images: mean log of the unbiased standard deviations of each class's logits."""
    points = made.train_init_loader.dataset
    logits = made.model.eval()(points.data).detach().double().numpy()
    made.model.train()  # dropout is on again when `attach` comes
    labels = np.array(points.labels)
    return np.array([np.log(logits[labels == c].std(axis=0, ddof=1)).mean() for c in range(made.num_classes)])


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return 3 * torch.randn(40, 5), torch.arange(40) % 5


@pytest.mark.parametrize(
    ("options", "form", "tau"),
    [
        ({"loss_type": "CE"}, "weights", 1.0),
        ({"loss_type": "LA"}, "margins", 1.0),
        ({"loss_type": "LA", "reweight_tau": 1.25}, "margins", 1.25),
        ({"loss_type": "CE", "reweight_form": "logit_adjustment"}, "margins", 1.0),
        ({"loss_type": "LA", "sampler": "ClassAwareSampler"}, "margins", 1.0),
    ],
)
def test_once_radii_apply_the_loss_is_the_definition(options: Any, form: str, tau: float, trainer: Any) -> None:
    made = trainer(reweight_measure_first=True, **options)
    log_r = log_radii(made)
    attach(made)
    logits, labels = batch()
    alpha = weights_of(log_r.tolist(), made.cfg.counts)
    margins = form == "margins"
    lowered = logits - margins * tau * torch.from_numpy(alpha).log()
    expected = mean_loss("softmax", lowered, labels, [1.0] * 5 if margins else alpha.tolist())
    for dtype, accuracy in ((torch.float32, 1e-5), (torch.float16, 5e-3), (torch.float64, 1e-5)):
        assert float(made.criterion(logits.to(dtype), labels)) == pytest.approx(expected, rel=accuracy)
    assert expected != pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=0.01)


def test_until_radii_apply_the_hosts_own_criterion_is_called(trainer: Any) -> None:
    made = trainer()
    own = made.criterion
    attach(made)
    assert torch.equal(made.criterion(*(given := batch())), own(*given))


class WithPrompts(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Any, text: Any, is_text_feature: bool) -> Any:
        assert (text, is_text_feature) == ("prompts", False)
        return self.inner(image)


def test_a_trainer_that_is_given_prompts_is_measured_with_them(trainer: Any) -> None:
    made = trainer(loss_type="CE", reweight_measure_first=True)
    alpha = weights_of(log_radii(made).tolist(), made.cfg.counts)
    made.model, made.generate_class_prompts = WithPrompts(made.model), lambda: "prompts"
    made.init_loader = made.train_init_loader
    del made.train_init_loader
    attach(made)
    weights = made.criterion.criteria["single"].weighting.weights.numpy()
    assert np.allclose(weights, alpha, rtol=1e-4)


def one_epoch(made: Any) -> None:
    for image, label in made.train_loader:
        made.criterion(made.model(image), label)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_criterion_that_is_replaced_or_never_called_is_noticed(epoch: int, trainer: Any) -> None:
    made = trainer()
    hook = attach(made)
    if epoch == 1:
        one_epoch(made)
        hook.end_epoch(0)
        one_epoch(made)
        made.criterion = nn.CrossEntropyLoss()  # in the middle of the second epoch
    with pytest.raises(ValueError, match="never called"):
        hook.end_epoch(epoch)


def test_a_trainer_without_tensorboard_is_served(trainer: Any) -> None:
    made = trainer()
    del made._writer
    hook = attach(made)
    one_epoch(made)
    assert hook.end_epoch(0)["reweight_alpha_max"] > 2


def test_label_smoothing_of_the_host_is_kept(trainer: Any) -> None:
    made = trainer(loss_type="CE", reweight_type="inverse", reweight_start_epoch=0)
    made.criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    attach(made)
    alpha = weights_of([0.0] * 5, made.cfg.counts)
    logits, labels = batch()
    expected = mean_loss("softmax", logits, labels, alpha.tolist(), smoothing=0.1)
    assert float(made.criterion(logits, labels)) == pytest.approx(expected, rel=1e-5)


class Third(nn.Module):
    def forward(self, output: Any, label: Any, counts: Any) -> Any:
        return output.sum()


def own_batches(made: Any) -> None:
    made.train_loader = torch.utils.data.DataLoader(made.train_loader.dataset, batch_sampler=[[0, 1], [2, 3]])


def no_labels(made: Any) -> None:
    del made.train_loader.dataset.labels


WEIGHTED = nn.CrossEntropyLoss(torch.arange(1.0, 6.0))
REFUSED: dict[str, Callable[[Any], Any]] = {
    "to be softmax cross entropy": lambda made: setattr(made, "criterion", WEIGHTED),
    "fails on them": lambda made: setattr(made, "criterion", Third()),
    "one label an image as `labels`": no_labels,
    "batch_sampler of its own": own_batches,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_trainer_that_does_not_fit_is_refused_unchanged(reason: str, trainer: Any) -> None:
    made = trainer(loss_type="CE")
    REFUSED[reason](made)
    own = made.criterion
    with pytest.raises(ValueError, match=reason):
        attach(made)
    assert made.criterion is own


FORWARD = "return super().forward(image.to(self.weight.dtype))"
DV = "loss_type CE reweight.type class_volume"


def returns(standin: Path, output: str, loop_takes: str = "[0]") -> None:
    """Lets the stand-in's model return more than its logits, `out`, of which its loop takes a part."""
    change(standin, FORWARD, f"out = super().forward(image.to(self.weight.dtype))\n        return {output}")
    change(standin, "self.model(image)", f"self.model(image){loop_takes}")


def radii_of_run(run: Make, **options: Any) -> np.ndarray:
    """Log radii after each of two epochs."""
    done = run(loss_type="CE", reweight_type="class_volume", **options)
    return np.stack([done.arrays(epoch)["log_radius_single"] for epoch in range(2)])


@pytest.mark.parametrize(
    ("output", "takes"),
    [("out, [out, out[:, :3]]", "[0]"), ("[image, out, None]", "[1]"), ("{'z': out, 'mean': out.mean()}", "['z']")],
)
@pytest.mark.parametrize("way", [{"reweight_source": "clean_pass"}, {"reweight_measure_first": True}, {}])
def test_the_one_tensor_of_logits_in_an_output_is_measured(
    output: str, takes: str, way: dict[str, Any], run: Make, standin: Path
) -> None:
    alone = radii_of_run(run, **way)
    returns(standin, output, takes)
    assert np.array_equal(alone, radii_of_run(run, **way))
    assert check(standin, "--host-args", DV, code=0)["step"][0] == "ok"


TWO = {"out, out / 5": "[0]", "{'a': out, 'b': [out.clone()]}": "['a']"}


@pytest.mark.parametrize("output", TWO)
def test_of_two_that_may_be_the_logits_those_of_the_criterion_stream_and_measuring_is_refused(
    output: str, run: Make, build: Build, standin: Path, tmp_path: Path
) -> None:
    alone = radii_of_run(run)
    returns(standin, output, TWO[output])
    assert np.array_equal(alone, radii_of_run(run))
    found = check(standin, "--host-args", DV, code=0)
    assert (found["reweight"][0], found["step"][0]) == ("ok", "skip")
    for option, value in (("source", "clean_pass"), ("measure_first", True)):
        train = build(loss_type="CE", reweight_type="class_volume", **{f"reweight_{option}": value})
        with pytest.raises(ValueError, match=r"one tensor of logits \[B, 5\] but got 2 in a (tuple|dict) of \[2"):
            train()
        assert "epoch [" not in (tmp_path / "output" / "log.txt").read_text()
        found = check(standin, "--host-args", f"{DV} reweight.{option} {value}", code=1)
        assert found["reweight"][0] == "FAIL"
        assert "one tensor of logits" in found["reweight"][1]
    build(loss_type="CE", reweight_type="inverse")()  # reads no logits


def test_a_loop_that_makes_its_logits_of_what_the_model_returns_streams_them(
    run: Make, build: Build, standin: Path
) -> None:
    returns(standin, "(image, self)", "")
    made = "def made(output):\n    return nn.functional.linear(output[0], output[1].weight, output[1].bias)\n\n\n"
    change(standin, "self.model(image)", "made(self.model(image))")
    change(standin, "class Points(", made + "class Points(")
    assert len(run(loss_type="CE", reweight_type="class_volume").ours) == 3
    with pytest.raises(ValueError, match="but got 0 in a tuple"):
        build(loss_type="CE", reweight_type="class_volume", reweight_source="clean_pass")()
