"""The loss that a host's training step gets, its value and its gradient, against the definition."""

import sys
import types

import pytest
import torch
from host_steps import Call, Parts, expected_loss, expected_weights, parts_of, record_calls
from mini_host import CLASSES, COUNTS, MiniHost, Mixup, SoftCrossEntropy
from torch import Tensor, nn
from torch.nn import functional as F

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.hosts.vl_ltr.plan import observe_clean
from vlltr_plugin.training.host_criterion import HostCriterion

TWO = [40, 9]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True], ids=["hard", "mixed"])
def test_two_classes_train_with_the_losses_of_the_definition(mixed: bool, smoothing: float) -> None:
    base = SoftCrossEntropy() if mixed else nn.CrossEntropyLoss(label_smoothing=smoothing)
    loss = ReweightedLoss(ClassVolume(TWO), smoothing=smoothing)
    criterion = HostCriterion(base, {"single": loss})
    generator = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(TWO))
    alpha = [1.0, 1.0]
    for _ in range(3):
        order = torch.randperm(len(labels), generator=generator)
        rows = torch.randn(len(labels), 2, generator=generator) * (1.0 + labels[order, None])
        targets = labels[order]
        if mixed:
            hard = F.one_hot(targets, 2).float()
            targets = (1 - smoothing) * (0.8 * hard + 0.2 * hard.roll(1, 0)) + smoothing / 2
        parts = parts_of(targets, smoothing)
        found = criterion(rows.clone().requires_grad_(), targets)
        assert found.item() == pytest.approx(expected_loss(rows, parts, alpha, smoothing).item(), rel=1e-5)
        loss.end_epoch()
        alpha = expected_weights(rows, parts, TWO, TWO)
    assert max(alpha) > 1.5


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
Weights = dict[str, list[float]]
"""By branch: the class weights that serve its loss."""


class KnownMixup(Mixup):
    """Keeps what it mixed, so that nothing has to be read off the targets."""

    def __init__(self) -> None:
        self.parts: list[list[Parts]] = []

    def __call__(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.get_rng_state()
        lam = float(torch.rand(()))
        torch.set_rng_state(state)
        pairs = zip(labels.tolist(), labels.flip(0).tolist(), strict=True)
        self.parts.append([[(one, lam), (other, 1 - lam)] for one, other in pairs])
        return super().__call__(x, labels)


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
        if mixed:
            self.host.mixup = KnownMixup()
        self._recorded = record_calls(self.host.criterion)
        self.host.attach()
        self.calls: dict[int, list[Call]] = {}
        self.parts: dict[int, list[list[Parts]]] = {}
        self.clean: dict[int, dict[str, Tensor]] = {}
        self.summed: dict[int, list[float]] = {}
        for epoch in range(epochs):
            self.train(epoch)

    def train(self, epoch: int) -> None:
        self._recorded.clear()
        if self.host.mixup is not None:
            self.host.mixup.parts = []
        self.summed[epoch] = self.host.epoch(epoch)
        self.calls[epoch] = list(self._recorded)
        hard = [parts_of(call.targets, 0) for call in self.steps(self.calls[epoch])] if self.host.mixup is None else []
        self.parts[epoch] = hard or self.host.mixup.parts
        self.clean[epoch] = self._clean_logits()

    def steps(self, calls: list[Call], branch: int = 0) -> list[Call]:
        return calls[branch :: len(self.names)]

    def _clean_logits(self) -> dict[str, Tensor]:
        with torch.no_grad():
            outputs = self.host.model(self.host.dataset.data)
        return dict(zip(self.names, outputs if len(self.names) == 2 else [outputs], strict=True))

    def weights_after(self, epoch: int, branch: str, source: str) -> Weights:
        """The weights that the statistics of that epoch lead to, for each branch."""
        calls = self.calls[epoch]
        logits = {name: torch.cat([call.logits for call in self.steps(calls, i)]) for i, name in enumerate(self.names)}
        parts = [sample for batch in self.parts[epoch] for sample in batch]
        if source == "clean_pass":
            logits, parts = self.clean[epoch], [[(label, 1.0)] for label in self.host.dataset.targets]
        if branch == "sum":
            logits["sum"] = logits["visual"].double() + logits["image_text"].double()
        return {
            name: expected_weights(logits[name if branch == "each" else branch], parts, COUNTS, DRAWS)
            for name in self.names
        }

    def assert_losses(self, epoch: int, weights: Weights) -> None:
        """Each call gave the loss of its own branch, and the step their sum."""
        expected = []
        for number, name in enumerate(self.names):
            steps = zip(self.steps(self.calls[epoch], number), self.parts[epoch], strict=True)
            of_branch = [expected_loss(call.logits, parts, weights[name], SMOOTHING).item() for call, parts in steps]
            found = [call.loss.item() for call in self.steps(self.calls[epoch], number)]
            assert found == pytest.approx(of_branch, rel=1e-5), name
            expected.append(of_branch)
        assert self.summed[epoch] == pytest.approx([sum(step) for step in zip(*expected, strict=True)], rel=1e-5)


def spread(weights: Weights) -> float:
    return min(max(alpha) / min(alpha) for alpha in weights.values())


@pytest.mark.parametrize("source", ["stream", "clean_pass"])
@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "hard"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_each_epochs_losses_are_the_plain_mean_of_alpha_times_the_loss_of_each_constituent(
    branch: str, mixed: bool, source: str
) -> None:
    run = Run(branch, mixed, source=source)
    run.assert_losses(0, dict.fromkeys(run.names, ONES))
    for epoch in range(1, EPOCHS):
        weights = run.weights_after(epoch - 1, branch, source)
        assert spread(weights) > 1.5
        run.assert_losses(epoch, weights)
    if branch == "each":
        assert weights["visual"] != pytest.approx(weights["image_text"], rel=0.05)  # else a swap could hide


@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "hard"])
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


@pytest.mark.parametrize("mixed", [True, False], ids=["mixed", "hard"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_a_steps_gradient_is_that_of_the_definition(branch: str, mixed: bool) -> None:
    run = Run(branch, mixed, epochs=1)
    weights = run.weights_after(0, branch, "stream")
    host = run.host
    host.hook.begin_epoch(1)
    x, labels = host.dataset.data[::7], torch.tensor(host.dataset.targets[::7])
    x, targets = host.mixup(x, labels) if mixed else (x, labels)
    parts = host.mixup.parts[-1] if mixed else parts_of(targets, 0)
    outputs = host.model(x)
    outputs = list(outputs) if len(run.names) == 2 else [outputs]
    found = torch.autograd.grad(sum(host.criterion(x, logits, targets) for logits in outputs), outputs)
    for name, logits, gradient in zip(run.names, outputs, found, strict=True):
        exact = logits.detach().double().requires_grad_()
        expected_loss(exact, parts, weights[name], SMOOTHING).backward()
        torch.testing.assert_close(gradient.double(), exact.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("training", [False, True])
def test_the_weights_apply_to_a_criterion_in_eval_mode_too(training: bool) -> None:
    run = Run("visual", mixed=False, epochs=1)
    host, weights = run.host, run.weights_after(0, "visual", "stream")
    host.hook.begin_epoch(1)
    host.criterion.train(training)
    x, labels = host.dataset.data[::7], torch.tensor(host.dataset.targets[::7])
    with torch.no_grad():
        for name, logits in zip(run.names, host.model(x), strict=True):
            expected = expected_loss(logits, parts_of(labels, 0), weights[name], SMOOTHING)
            assert host.criterion(x, logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)
