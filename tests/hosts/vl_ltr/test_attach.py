"""What `attach` wraps, what it leaves alone, and what it refuses."""

import re

import pytest
import torch
from mini_host import COUNTS, SoftCrossEntropy, Wrapper
from torch import nn
from torch.utils.data import DistributedSampler, RandomSampler, WeightedRandomSampler

from vlltr_plugin.training.hook import Hook

DV = {"type": "class_volume"}
ADJUSTED = {**DV, "form": "logit_adjustment"}
CLEAN = {**DV, "source": "clean_pass"}


def assert_untouched(host):
    assert getattr(host.criterion, "base_criterion", host.base) is host.base
    assert not host.model._forward_hooks


def mixed_batch(host):
    return host.mixup(host.dataset.data[:8], torch.tensor(host.dataset.targets[:8]))


def test_without_the_key_losses_equal_the_plain_run(mini_host):
    plain, host = mini_host(), mini_host()
    before = dict(vars(host.args))
    hook = host.attach()
    assert type(hook) is Hook
    assert_untouched(host)
    assert vars(host.args) == before
    assert hook.end_epoch(0) == {}
    assert hook.checkpoint() == {}
    plain.hook = Hook()
    assert [plain.epoch(e) for e in range(2)] == [host.epoch(e) for e in range(2)]


def test_with_eval_it_neither_refuses_nor_writes(mini_host, tmp_path, capsys):
    host = mini_host(DV, eval=True, pretrain_cvlp=True, output_dir=str(tmp_path))
    hook = host.attach(sampler=object())
    hook.load({"reweight": "anything"})
    assert_untouched(host)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_config_dicts_become_plain_ones_so_that_checkpoints_load_safely(mini_host):
    class ConfigDict(dict):
        pass

    host = mini_host(ConfigDict(type="class_volume", min_samples=2))
    host.attach()
    assert type(host.args.reweight) is dict


MISSPELT = ("reweigth", "re_weight", "reweighting", "rewieght", "Reweight", "REWEIGHT", "re-weight")


@pytest.mark.parametrize(
    ("args", "named"),
    [
        *(({name: DV, "lr": 0.1, **beside}, name) for name in MISSPELT for beside in ({}, {"reweight": None})),
        *(({"reweight": off, **more}, None)
          for off in (None, False) for more in ({}, {"weights": "x", "reweighting": True, "re_weight": None})),
    ],
)  # fmt: skip
def test_no_reweight_is_the_baseline_and_a_dict_under_a_name_like_it_is_pointed_out(mini_host, capsys, args, named):
    host = mini_host()
    vars(host.args).update(args)
    assert type(host.attach()) is Hook
    assert_untouched(host)
    said = capsys.readouterr().out
    assert f"asks for no `reweight`, but has {named!r}: was that meant?" in said if named else said == ""


TYPE = "got .*: give a type, .*None or no `reweight` at all re-weights nothing"


@pytest.mark.parametrize(
    ("reweight", "changes", "message"),
    [
        (DV, {"pretrain_cvlp": True}, "pre-training stage"),
        *((value, {}, TYPE) for value in ({}, "", 0, True, [], {"variant": "dv"})),
        ("class_volume", {}, "reweight=dict"),
        ({"type": "class_volum"}, {}, "did you mean 'class_volume'"),
        ({**DV, "min_sampels": 3}, {}, "'min_sampels': did you mean 'min_samples'"),
        ({**DV, "brunch": "visual"}, {}, "'brunch': did you mean 'branch'"),
        ({**DV, "branch": "text"}, {}, "'image_text', 'visual', 'sum', 'each'"),
        ({**DV, "branch": "image_text"}, {"two_branch": False}, "single output"),
        ({**DV, "source": "clean"}, {}, "'stream', 'clean_pass'"),
        ({**DV, "every": 2}, {}, "clean_pass' only"),
        ({**CLEAN, "every": 0}, {}, "1 or more"),
        ({"type": "inverse", "source": "clean_pass"}, {}, "reads logits only"),
        ({**DV, "variant": "pv", "memory_limit": 99}, {}, "memory_limit"),
        ({**DV, "from": "logit_adjustment"}, {}, "did you mean 'form'"),
        *(({**DV, "form": form}, {}, "reweight's form to be") for form in ("logit_adjusted", "", None, 1, ["loss"])),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_wrapped(mini_host, reweight, changes, message):
    host = mini_host(reweight, **changes)
    with pytest.raises(ValueError, match=message):
        host.attach()
    assert_untouched(host)


class HardOnly(nn.Module):
    def forward(self, logits, targets):
        return nn.functional.nll_loss(logits.log_softmax(1), targets)


class WithEpoch(SoftCrossEntropy):
    """A fork's base criterion, which also takes the epoch."""

    def forward(self, logits, targets, epoch):
        return super().forward(logits / (1 + epoch), targets)


class WithEpochByName(SoftCrossEntropy):
    def forward(self, logits, targets, *, epoch, more=0, **rest):
        return super().forward(logits, targets)


@pytest.mark.parametrize("form", ["loss_weight", "logit_adjustment"])
@pytest.mark.parametrize(
    ("base", "mixed", "message"),
    [
        (nn.BCEWithLogitsLoss(), True, "softmax cross entropy .*more than the weights"),
        (nn.MultiMarginLoss(), True, "mixed labels"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), True, "more than the weights"),
        (nn.CrossEntropyLoss(reduction="sum"), True, "more than the weights"),
        (HardOnly(), True, "make mixup, cutmix, smoothing and loss_type agree"),
        *((kind(), mixed, "missing a required argument: 'epoch'")
          for kind in (WithEpoch, WithEpochByName) for mixed in (True, False)),
    ],
)  # fmt: skip
def test_a_base_criterion_other_than_softmax_cross_entropy_is_refused(mini_host, base, mixed, message, form):
    host = mini_host({**DV, "form": form}, mixed=mixed)
    host.criterion.base_criterion = base
    with pytest.raises(ValueError, match=message) as refused:
        host.attach()
    assert ("epoch" in message) != bool(re.search("mixup|cutmix|smoothing|loss_type", str(refused.value)))
    assert host.criterion.base_criterion is base


class WithOptionalEpoch(SoftCrossEntropy):
    def forward(self, logits, targets, epoch=0):
        return super().forward(logits, targets)


@pytest.mark.parametrize(("more", "named"), [((3,), {}), ((), {"epoch": 3})])
def test_further_arguments_that_only_the_loop_gives_are_refused_at_the_first_step(mini_host, more, named):
    host = mini_host(DV)
    host.criterion.base_criterion = WithOptionalEpoch()
    host.attach()
    x, targets = mixed_batch(host)
    with pytest.raises(ValueError, match=r"(1 argument\(s\)|`epoch`) more, whose effect on the loss"):
        host.criterion.base_criterion(host.model(x)[0], targets, *more, **named)


class OfEpoch(Wrapper):
    def forward(self, inputs, outputs, labels, epoch):
        return (1 + epoch) * super().forward(inputs, outputs, labels)


def test_a_wrapper_with_a_further_argument_is_no_obstacle(mini_host):
    host = mini_host(DV)
    host.criterion = OfEpoch(host.base)
    host.attach()
    x, targets = mixed_batch(host)
    outputs = host.model(x)
    assert torch.equal(host.criterion(x, outputs[0], targets, 1), 2 * host.base(outputs[0], targets))


def test_the_expected_draws_follow_the_sampler(mini_host):
    host = mini_host(DV)
    for sampler, weights in ((host.sampler, torch.tensor(COUNTS).double().sqrt()), (RandomSampler(range(108)), COUNTS)):
        weights = torch.as_tensor(weights, dtype=torch.float64)
        draws = mini_host(DV).attach(sampler=sampler).weightings["image_text"].draws
        torch.testing.assert_close(draws, 108 * weights / weights.sum())


class Balanced(DistributedSampler):
    pass


UNFIT = {
    "module `base_criterion`": lambda host: {"criterion": nn.CrossEntropyLoss()},
    r"4 classes.*found 4": lambda host: setattr(host.args, "nb_classes", 4),
    "whole numbers": lambda host: host.dataset.targets.__setitem__(0, 0.5),
    "got object: .*attribute `weights`": lambda host: {"sampler": object()},
    "got Balanced: .*attribute `weights`": lambda host: {"sampler": Balanced(host.dataset, num_replicas=1, rank=0)},
    "one weight for each of the 108": lambda host: {"sampler": WeightedRandomSampler([1.0] * 107, 10)},
    "with replacement": lambda host: {"sampler": WeightedRandomSampler([1.0] * 108, 10, replacement=False)},
    "finite sampler weights": lambda host: {"sampler": WeightedRandomSampler([float("inf")] * 108, 10)},
}


@pytest.mark.parametrize("message", UNFIT)
def test_parts_that_do_not_fit_are_refused(mini_host, message):
    host = mini_host(DV)
    parts = UNFIT[message](host) or {}
    with pytest.raises(ValueError, match=message):
        host.attach(**parts)
    assert_untouched(host)


def test_attaching_twice_is_refused(mini_host):
    host = mini_host(DV)
    host.attach()
    with pytest.raises(ValueError, match="call attach once"):
        host.attach()


def narrow(host):
    host.model.text, host.model.visual = nn.Linear(6, 7), nn.Linear(6, 7)


def copy_logits(host):
    host.model.register_forward_hook(lambda module, inputs, outputs: tuple(output.clone() for output in outputs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (narrow, r"\[B, 5\].*got \[16, 7\]"),
        (copy_logits, "as they come"),
        (lambda host: setattr(host.model, "two_branch", False), "two_branch"),
        (lambda host: setattr(host.model, "forward", lambda x: (host.model.text(x),) * 2), "the same one twice"),
    ],
)
def test_outputs_that_do_not_fit_are_refused_at_the_first_step(mini_host, change, message):
    host = mini_host(DV, mixed=False)
    host.attach()
    change(host)
    with pytest.raises(ValueError, match=message):
        host.epoch(0)


@pytest.mark.parametrize(
    ("reweight", "epochs", "first", "words"),
    [
        ({**DV, "start_epoch": 3}, 3, 3, "the run is the baseline, exactly"),
        ({**DV, "start_epoch": 2}, 3, None, "start_epoch 2 from the image_text logits (stream) as loss weights"),
        (DV, 1, 1, ""),
        (DV, 2, None, "from epoch 1 on; with equal radii alpha runs from 0.514 to 3.98."),
        (DV, None, None, ""),
        ({**CLEAN, "every": 4}, 4, 4, ""),
        ({**CLEAN, "every": 4}, 5, None, "(clean_pass)"),
        ({"type": "inverse", "start_epoch": 5}, 5, 5, ""),
        ({"type": "inverse", "normalize": "mean"}, 1, None, "inverse, normalize mean as loss weights, from epoch 0 on"),
        ({"type": "none", "start_epoch": 5}, 5, None, "type none: the host's own loss in all epochs."),
        ({**ADJUSTED, "start_epoch": 5}, 5, 5, "plain logit adjustment, by the draws or counts alone"),
        (ADJUSTED, 5, None, "(logit adjustment, tau 1), from the first step on: epoch 0 is not the baseline's, and "
         "measured radii apply from epoch 1 on"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("host_datasets")
def test_what_the_run_will_do_is_said_and_weights_that_can_never_apply_are_warned_of(
    mini_host, capsys, reweight, epochs, first, words
):
    mini_host(reweight, epochs=epochs).attach()
    said = capsys.readouterr().out
    assert words in said
    assert ("never apply" in said) == (first is not None)
    assert first is None or f"apply from epoch {first} on, counted from 0, but there are {epochs} epochs" in said
    assert ("not the baseline's" in said) == ("form" in reweight)
