"""Checks of a training loop: counts the samples drawn, compares them with the declared counts, and warns."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vlltr_plugin.core.arguments import warn_caller
from vlltr_plugin.core.batch import Batch
from vlltr_plugin.core.draws import DrawnEpochs
from vlltr_plugin.core.ranks import sum_over_ranks, world_size
from vlltr_plugin.core.torch_context import outside_inference_mode, unshare
from vlltr_plugin.core.weighting import Weighting

LAYERS = 8  # largest number of autograd nodes searched between the logits and the last parameters that compute them
# Passes over the training set without `end_epoch` before the first warning: an epoch may contain many views.
FIRST_END = 25
# A set below this size may be the labelled part of a larger one (FixMatch draws 65,536 samples an epoch from 40
# labelled images), so the first warning comes after this number of samples instead.
SMALL_SET, FIRST_SAMPLES = 1000, 100_000

NEXT_END = 10  # times the longest epoch so far (or the sum of `draws`) without `end_epoch` before a warning
CALLS_CHECKED = 16  # number of first calls whose logits are compared to detect several heads
# Share of samples without a backward pass that gives a warning, and the number of first epochs that are checked.
NOT_TRAINED, WATCHED_EPOCHS = 0.05, 2
ADVICE = (
    "Give the class_counts of this training set, torch.bincount(labels, minlength=C), and with a sampler that is not "
    "uniform draws=[samples of each class that it draws in an epoch]."
)


class LoopChecks:
    """Counts and compares the batches that feed a weighting; gives each warning once, and never waits for a GPU."""

    called = False  # True if a criterion gave a training loss since the last epoch ended
    drawn: Tensor  # samples of each class since the last epoch ended, float64 `[C]` on the device that they come on
    advice = ADVICE  # advice if the draws differ from those declared; empty if no weight depends on them
    # Prints a warning in a host, whose hook ends the epochs; None in a user's own loop, which uses `warnings.warn`.
    say: Callable[[str], None] | None = None
    _last: weakref.ref[Tensor] | None = None
    _last_pass: tuple[int | None, int]
    _last_targets: weakref.ref[Tensor] | None = None
    _last_parameters: frozenset[int] = frozenset()
    _allowed = math.inf
    _untrained_before = False

    def __init__(self, weighting: Weighting) -> None:
        self._weighting = (weighting,)  # a tuple, so that it does not become a submodule
        self._epochs = DrawnEpochs(weighting)
        self._warned: set[str] = set()
        self._calls = 0
        self.drawn = torch.zeros(weighting.num_classes, dtype=torch.float64, device="cpu")
        self.forget()

    @outside_inference_mode
    def forget(self) -> None:
        """Resets the counts."""
        self.drawn = torch.zeros_like(self.drawn)
        self._epoch, self._samples, self._images, self.called = self._weighting[0].epoch, 0, 0, False
        self._last, self._last_targets, self._passes = None, None, ObservedPasses()

    def start_over(self) -> None:
        """Resets the counts and comparisons, for another model."""
        self.forget()
        self._epochs.restart()

    def see_logits(self, logits: Tensor, targets: Tensor | None = None) -> None:
        """Warns if a training pass has the logits of the pass before, or (with targets) those of another head."""
        if torch.compiler.is_compiling() or not self._weighting[0].uses_logits:
            return
        # CUDA graphs return the same tensor in every pass: the autograd node (for a parameter, the version) differs.
        this_pass = None if logits.grad_fn is None else logits.grad_fn._sequence_nr(), logits._version
        if self._last is not None and self._last() is logits and self._last_pass == this_pass:
            self._warn(
                "twice",
                "Expected every batch once but the same logits came twice in a row: each of their images is counted "
                "twice in the statistics, even if the losses are scaled by lam and 1 - lam. Give mixed targets in one "
                "call, float [B, C]: lam * one_hot(a) + (1 - lam) * one_hot(b). For a loss that is only printed use "
                "criterion.losses(logits, targets, 'mean').",
            )
        self._last, self._last_pass = weakref.ref(logits), this_pass
        if targets is None or self._calls >= CALLS_CHECKED:
            return
        self._calls += 1
        same_targets = self._last_targets is not None and self._last_targets() is targets
        parameters, before = nearest_parameters(logits), self._last_parameters
        if same_targets and self._passes.last_one_waits and parameters and before and before.isdisjoint(parameters):
            self._warn(
                "heads",
                "Expected the logits of one head but got those of several for the same targets: their statistics are "
                "mixed, so the radii are wrong. Call the criterion for the head that predicts, and "
                "criterion.losses(logits, targets, 'mean') for the others, or give each head a criterion with a "
                "weighting of its own.",
            )
        self._last_targets, self._last_parameters = weakref.ref(targets), parameters

    def see_loss(self, loss: Tensor, batch: Batch) -> None:
        """Records the loss of a training pass, to detect whether backward runs through it."""
        if not torch.compiler.is_compiling() and self._epochs.ended < WATCHED_EPOCHS:  # no guard on `ended`
            self._passes.add(loss, batch.shape[0])

    @outside_inference_mode
    def count(self, batch: Batch) -> None:
        """Counts a batch of this rank, on a device that holds float64; warns if no `end_epoch` came for long."""
        weighting, compiling = self._weighting[0], torch.compiler.is_compiling()
        if not compiling and self._epoch != weighting.epoch:  # the epoch was ended, but not by the criterion
            self._epochs.longest = max(self._epochs.longest, float(self._samples * world_size()))
            self.forget()
        self.drawn = self.drawn.to(batch.logits.device)
        self.drawn += batch.drawn()
        if compiling:  # a Python number would be recompiled in every step
            return
        self._images += batch.shape[0]
        if batch.rows_kept is not None:  # on a GPU, ignored elements stay in the batch and must not be counted
            return
        longest, declared = self._epochs.longest, self._epochs.declared
        if not self._samples:
            first = FIRST_SAMPLES if declared < SMALL_SET else FIRST_END * declared
            allowed = NEXT_END * longest if longest else max(first, NEXT_END * weighting.draws_given)
            self._allowed = allowed / world_size()
        self._samples += len(batch.targets)
        if self._samples <= self._allowed:
            return
        if self.say is None and (weighting.uses_logits or weighting.epoch < weighting.start_epoch):
            ended = f"the longest epoch before had {longest:.0f}" if longest else "no epoch has ended"
            self._warn(
                "forgotten",
                f"Expected criterion.end_epoch() after each epoch but {self._samples} samples came without it here "
                f"({ended}; class_counts sum to {declared:.0f}): only end_epoch changes the class weights, "
                f"so they are still those of epoch {weighting.epoch}. Call it once an epoch, on every rank. If a "
                "callback calls it after each pass over the data and the data are endless, give it steps_per_epoch.",
            )

    def end_epoch(self) -> Tensor:
        """Ends an epoch and returns the samples `[C]` that all ranks drew in it; warns of mismatches."""
        drawn = self.drawn.to(self._weighting[0].device64)
        totals = sum_over_ranks(torch.cat([drawn, drawn.new_tensor([self._images])]))
        drawn, images, passes = totals[:-1], float(totals[-1]), self._passes
        counted = self._epoch != self._weighting[0].epoch  # not if this epoch had ended before: end_epoch(epoch) twice
        unused = counted and not self.called and not bool(drawn.any())
        self._epochs.add(drawn, images or math.inf)
        self.forget()
        if self.advice and (differs := self._epochs.other_classes()):
            self._warn(
                "other draws",
                f"The classes drawn do not match class_counts (or draws): {differs}. {self.advice}",
            )
        if self.advice and (longer := self._epochs.first_was_longer()):
            what_to_do = "" if self.say else " Call criterion.forget_epoch() after such passes."
            self._warn(
                "longer",
                f"Expected epochs of one length but {longer}: the radii of the first may include passes before the "
                f"training, such as those of a learning-rate finder or of a start that ran out of memory.{what_to_do}",
            )
        weighting = self._weighting[0]
        # A weighting that reads logits warns itself; in a host, the hook does.
        if unused and self.say is None and weighting.has_radii and not weighting.uses_logits:
            self._warn(
                "unused",
                "Expected the training to compute its loss with the criterion but it was never called in this epoch: "
                "nothing was re-weighted. Call criterion(logits, targets) in each step (Hugging Face's Trainer: "
                "compute_loss_func=callback.loss). If two criteria have one weighting, each end_epoch() counts an "
                "epoch: give each criterion its own weighting, or call end_epoch() of one of them.",
            )
        untrained = passes.untrained > NOT_TRAINED * passes.samples and passes.left_out
        if untrained and self._untrained_before:
            self._warn(
                "untrained",
                f"Expected a backward pass for each loss but {passes.untrained} of {passes.samples} samples came in "
                "calls without one (validation with gradients, a loss that is only printed?): these samples are in the "
                "statistics that set the class weights. Call criterion.eval() or use torch.no_grad() there; "
                "criterion.forget_epoch() drops what was observed since the last epoch ended, such as the passes of a "
                "learning-rate finder.",
            )
        self._untrained_before = untrained
        return drawn

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_last": None, "_last_targets": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        unshare(vars(self))

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            (warn_caller if self.say is None else self.say)(message)


class ObservedPasses:
    """The passes of an epoch: the samples of all, and of those without a backward pass so far."""

    def __init__(self) -> None:
        self.samples = self._added = self._together = self._most_together = 0
        self._waiting: dict[int, int] = {}

    def add(self, loss: Tensor, samples: int) -> None:
        """Adds a pass and its loss."""
        number = self._added
        self._added += 1
        self.samples += samples
        self._waiting[number] = samples
        self._together = 0

        def trained(gradient: Tensor) -> None:
            if self._waiting.pop(number, None) is not None:  # further backward passes change nothing
                self._together += 1
                self._most_together = max(self._most_together, self._together)

        if loss.requires_grad:
            loss.register_hook(trained)

    @property
    def untrained(self) -> int:
        """Number of samples in passes without a backward pass so far."""
        return sum(self._waiting.values())

    @property
    def last_one_waits(self) -> bool:
        """True if no backward pass has run since the last pass was added."""
        return self.samples > 0 and self._together == 0

    @property
    def left_out(self) -> bool:
        """True if more passes lack a backward pass than a sum of losses can explain, given the sums trained so far."""
        return len(self._waiting) >= self._most_together > 0


def nearest_parameters(logits: Tensor) -> frozenset[int]:
    """Ids of the parameters that computed the logits last; empty if the autograd graph does not show them."""
    nodes = {logits.grad_fn}
    for _ in range(LAYERS):
        inputs = [function for node in nodes if node is not None for function, _ in node.next_functions]
        leaves = [getattr(node, "variable", None) for node in inputs]
        found = frozenset(id(leaf) for leaf in leaves if isinstance(leaf, torch.nn.Parameter))
        if found:
            return found
        nodes = set(inputs)
    return frozenset()
