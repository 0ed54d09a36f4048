"""The loss that a host's training step gets, its value and its gradient, against the definition."""

import sys
import types

import pytest
import torch
from host_steps import Call, expected_loss, expected_weights, parts_of, record_calls
from mini_host import CLASSES, COUNTS, MiniHost
from torch import Tensor, nn

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.hosts.vl_ltr.plan import observe_clean
from vlltr_plugin.training.host_criterion import HostCriterion

THREE = [30, 20, 10]


class Outputs:
    """The watch of a model with two outputs."""

    names = ("visual", "image_text")

    def __init__(self, outputs: dict[str, Tensor]) -> None:
        self.outputs = outputs

    def branch_of(self, logits: Tensor) -> str:
        return next(name for name, output in self.outputs.items() if output is logits)

    def output(self, name: str) -> Tensor:
        return self.outputs[name]


@pytest.mark.parametrize("clean_pass", [False, True])
def test_the_sum_of_float64_branches_far_from_zero_is_not_rounded(clean_pass: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    spread = 0.05 * torch.randn(2, 300, 3, generator=generator, dtype=torch.float64)
    visual, image_text = spread + 1e6
    weighting, expected = ClassVolume(THREE), ClassVolume(THREE)
    outputs = {"visual": visual.requires_grad_(), "image_text": image_text.requires_grad_()}
    if clean_pass:
        observe_clean({"sum": ReweightedLoss(weighting)}, (visual, image_text), labels)
    else:
        loss = ReweightedLoss(weighting)
        criterion = HostCriterion(nn.CrossEntropyLoss(), {"sum": loss}, Outputs(outputs))
        for logits in outputs.values():
            criterion(logits, labels)
    expected.observe(spread.sum(dim=0), labels)
    for one in (weighting, expected):
        one.end_epoch()
    torch.testing.assert_close(weighting.log_radius64, expected.log_radius64, rtol=0, atol=1e-6)


EPOCHS = 3
SMOOTHING = 0.1
DRAWS = [n**0.5 for n in COUNTS]  # of the sampler by 1/sqrt(n), up to a factor
ONES = [1.0] * CLASSES
BRANCHES = ["image_text", "visual", "sum", "each", "single"]
MIXED = pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "hard"])
Weights = dict[str, list[float]]
"""By branch: the class weights that serve its loss."""


@pytest.fixture(autouse=True)
def host_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("datasets")
    module.build_transform = lambda is_train, args: lambda image: image
    monkeypatch.setitem(sys.modules, "datasets", module)


class Run:
    """Epochs of the miniature host, and what its criterion was called with."""

    def __init__(self, branch: str, mixed: bool, epochs: int = EPOCHS, **reweight: object) -> None:
        two = branch != "single"
        settings = {"type": "class_volume", **({"branch": branch} if two else {}), **reweight}
        self.host = MiniHost(settings, two_branch=two, mixed=mixed)
        self.names = ("visual", "image_text") if two else ("single",)
        self.smoothing = SMOOTHING if mixed else 0.0  # in the targets
        recorded = record_calls(self.host.criterion)
        self.host.attach()
        self.calls: list[dict[str, list[Call]]] = []
        self.clean: list[dict[str, Tensor]] = []
        self.summed: list[list[float]] = []
        for epoch in range(epochs):
            recorded.clear()
            self.summed.append(self.host.epoch(epoch))
            self.calls.append({name: recorded[i :: len(self.names)] for i, name in enumerate(self.names)})
            with torch.no_grad():
                self.clean.append(self.outputs(self.host.dataset.data))

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        found = self.host.model(x)
        return dict(zip(self.names, found if len(self.names) == 2 else [found], strict=True))

    def weights_after(self, epoch: int, branch: str, source: str) -> Weights:
        """The weights that the statistics of that epoch lead to, for each branch."""
        calls = self.calls[epoch]
        logits = {name: torch.cat([call.logits for call in calls[name]]) for name in self.names}
        parts = [sample for call in calls[self.names[0]] for sample in parts_of(call.targets, self.smoothing)]
        if source == "clean_pass":
            logits, parts = self.clean[epoch], [[(label, 1.0)] for label in self.host.dataset.targets]
        if branch == "sum":
            logits["sum"] = logits["visual"].double() + logits["image_text"].double()
        feeds = {name: logits[name if branch == "each" else branch] for name in self.names}
        return {name: expected_weights(feed, parts, COUNTS, DRAWS) for name, feed in feeds.items()}

    def loss_of(self, logits: Tensor, targets: Tensor, alpha: list[float]) -> Tensor:
        return expected_loss(logits, parts_of(targets, self.smoothing), alpha, SMOOTHING)

    def assert_losses(self, epoch: int, weights: Weights) -> None:
        """Each call gave the loss of its own branch, and the step their sum."""
        expected = []
        for name, calls in self.calls[epoch].items():
            expected.append([self.loss_of(call.logits, call.targets, weights[name]).item() for call in calls])
            assert [call.loss.item() for call in calls] == pytest.approx(expected[-1], rel=1e-5), name
        assert self.summed[epoch] == pytest.approx([sum(step) for step in zip(*expected, strict=True)], rel=1e-5)


@pytest.mark.parametrize("source", ["stream", "clean_pass"])
@MIXED
@pytest.mark.parametrize("branch", BRANCHES)
def test_each_epochs_losses_are_the_plain_mean_of_alpha_times_the_loss_of_each_constituent(
    branch: str, mixed: bool, source: str
) -> None:
    run = Run(branch, mixed, source=source)
    run.assert_losses(0, dict.fromkeys(run.names, ONES))
    for epoch in range(1, EPOCHS):
        weights = run.weights_after(epoch - 1, branch, source)
        assert all(max(alpha) > 1.5 * min(alpha) for alpha in weights.values())
        run.assert_losses(epoch, weights)
    if branch == "each":
        assert weights["visual"] != pytest.approx(weights["image_text"], rel=0.05)  # else a swap could hide


@MIXED
@pytest.mark.parametrize(
    ("reweight", "of_epoch"),
    [
        ({"start_epoch": 2}, {1: None, 2: 1}),
        ({"start_epoch": 0}, {1: 0, 2: 1}),
        ({"source": "clean_pass", "every": 2}, {1: None, 2: 1, 3: 1, 4: 3}),
    ],
)
def test_an_epochs_weights_come_from_the_newest_statistics_before_it(
    reweight: dict[str, object], of_epoch: dict[int, int | None], mixed: bool
) -> None:
    run = Run("image_text", mixed, epochs=max(of_epoch) + 1, **reweight)
    source = str(reweight.get("source", "stream"))
    for epoch, origin in of_epoch.items():
        weights = dict.fromkeys(run.names, ONES) if origin is None else run.weights_after(origin, "image_text", source)
        run.assert_losses(epoch, weights)


@MIXED
@pytest.mark.parametrize("branch", BRANCHES)
def test_a_steps_gradient_is_that_of_the_definition(branch: str, mixed: bool) -> None:
    run = Run(branch, mixed, epochs=1)
    weights, host = run.weights_after(0, branch, "stream"), run.host
    host.hook.begin_epoch(1)
    x, targets = host.dataset.data[::7], torch.tensor(host.dataset.targets[::7])
    if mixed:
        x, targets = host.mixup(x, targets)
    outputs = run.outputs(x)
    losses = [host.criterion(x, logits, targets) for logits in outputs.values()]
    found = torch.autograd.grad(sum(losses), list(outputs.values()))
    for (name, logits), gradient in zip(outputs.items(), found, strict=True):
        exact = logits.detach().double().requires_grad_()
        run.loss_of(exact, targets, weights[name]).backward()
        torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("training", [False, True])
def test_the_weights_apply_to_a_criterion_in_eval_mode_too(training: bool) -> None:
    run = Run("visual", mixed=False, epochs=1)
    host, weights = run.host, run.weights_after(0, "visual", "stream")
    host.hook.begin_epoch(1)
    host.criterion.train(training)
    x, labels = host.dataset.data[::7], torch.tensor(host.dataset.targets[::7])
    with torch.no_grad():
        for name, logits in run.outputs(x).items():
            expected = run.loss_of(logits, labels, weights[name]).item()
            assert host.criterion(x, logits, labels).item() == pytest.approx(expected, rel=1e-5)
