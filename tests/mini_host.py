"""A miniature host: two branches, mixup, a square root sampler, a criterion with `base_criterion`."""

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vlltr_plugin
from vlltr_plugin.hosts.plan import Plan
from vlltr_plugin.hosts.vl_ltr.plan import plan

COUNTS = [60, 30, 12, 5, 1]
CLASSES = len(COUNTS)


class TwoBranches(nn.Module):
    def __init__(self, two_branch: bool = True) -> None:
        super().__init__()
        self.visual, self.text, self.two_branch = nn.Linear(6, CLASSES), nn.Linear(6, CLASSES), two_branch

    def forward(self, x: Tensor) -> Any:
        return (self.visual(x), 3 * self.text(x)) if self.two_branch else self.text(x)


class SoftCrossEntropy(nn.Module):
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (-targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()


class Wrapper(nn.Module):
    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_criterion = base

    def forward(self, inputs: Any, outputs: Tensor, labels: Tensor) -> Tensor:
        return self.base_criterion(outputs, labels)


class Mixup:
    label_smoothing = 0.1

    def __call__(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        lam = float(torch.rand(()))
        hard = F.one_hot(labels, CLASSES).float()
        soft = 0.9 * (lam * hard + (1 - lam) * hard.flip(0)) + 0.1 / CLASSES
        return lam * x + (1 - lam) * x.flip(0), soft


class Images:
    def __init__(self) -> None:
        self.targets = [label for label, n in enumerate(COUNTS) for _ in range(n)]
        generator = torch.Generator().manual_seed(3)
        spread = 1 + torch.tensor(self.targets)[:, None]
        self.data = torch.randn(len(self.targets), 6, generator=generator) * spread
        self.pipeline: Any = lambda x: x + 0.1 * torch.randn_like(x)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pipeline(self.data[index]), self.targets[index]


class MiniHost:
    """One run: everything that the host's `main` builds before it calls `attach`."""

    losses: list[list[float]]

    def __init__(self, reweight: Any = None, two_branch: bool = True, mixed: bool = True, **args: Any) -> None:
        torch.manual_seed(0)
        defaults = {"nb_classes": CLASSES, "output_dir": "", "device": "cpu", "batch_size": 16, "num_workers": 0}
        self.args = argparse.Namespace(**(defaults | {"two_branch": two_branch} | args))
        if reweight is not None:
            self.args.reweight = reweight
        self.dataset = Images()
        counts = torch.tensor(COUNTS, dtype=torch.double)
        self.sampler = torch.utils.data.WeightedRandomSampler(counts.rsqrt()[self.dataset.targets], len(self.dataset))
        self.model = TwoBranches(two_branch)
        self.mixup = Mixup() if mixed else None
        self.base = SoftCrossEntropy() if mixed else nn.CrossEntropyLoss(label_smoothing=0.1)
        self.criterion = Wrapper(self.base)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)

    @property
    def parts(self) -> dict[str, Any]:
        """What the host's `main` gives to `attach`."""
        names = ("model", "criterion", "dataset", "sampler", "mixup")
        return {name: getattr(self, name) for name in names}

    def plan(self) -> Plan:
        return plan(self.args, **self.parts)

    def attach(self, **changes: Any) -> Any:
        self.hook = vlltr_plugin.attach(self.args, **(self.parts | changes))
        return self.hook

    def epoch(self, epoch: int, batches: int = 8) -> list[float]:
        """Trains; the same epoch number brings the same batches. Returns the losses, bit for bit."""
        torch.manual_seed(100 + epoch)
        self.hook.begin_epoch(epoch)
        losses = []
        for _ in range(batches):
            index = torch.multinomial(torch.as_tensor(self.sampler.weights), 16, replacement=True)
            x, targets = self.dataset.data[index], torch.tensor(self.dataset.targets)[index]
            if self.mixup is not None:
                x, targets = self.mixup(x, targets)
            outputs = self.model(x)
            loss = sum(self.criterion(x, rows, targets) for rows in (outputs if self.args.two_branch else [outputs]))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        self.stats = self.hook.end_epoch(epoch)
        return losses

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "args": self.args, **self.hook.checkpoint()}


def trained(reweight: Any = None, epochs: int = 0, **options: Any) -> MiniHost:
    """A miniature host with the plug-in attached, after some epochs; their losses are in `losses`."""
    host = MiniHost(reweight, **options)
    host.attach()
    host.losses = [host.epoch(epoch) for epoch in range(epochs)]
    return host
