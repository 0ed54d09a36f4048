"""What `attach` wraps, what it leaves alone, and what it refuses."""

import re
from dataclasses import replace

import pytest
import torch
from mini_host import SoftCrossEntropy, Wrapper
from torch import nn

from vlltr_plugin.training.draws import expected_draws
from vlltr_plugin.training.hook import Hook

DV = {"type": "class_volume"}


def test_without_the_key_nothing_is_touched(mini_host):
    host = mini_host()
    before = dict(vars(host.args))
    hook = host.attach()
    assert type(hook) is Hook
    assert host.criterion.base_criterion is host.base
    assert not host.model._forward_hooks
    assert vars(host.args) == before
    assert hook.end_epoch(0) == {}
    assert hook.checkpoint() == {}


def test_a_run_without_the_key_has_the_losses_of_a_run_without_the_plugin(mini_host):
    plain, attached = mini_host(), mini_host()
    plain.hook = Hook()
    attached.attach()
    assert [plain.epoch(e) for e in range(2)] == [attached.epoch(e) for e in range(2)]


def test_with_eval_it_neither_refuses_nor_writes(mini_host, tmp_path, capsys):
    host = mini_host(DV, eval=True, pretrain_cvlp=True)
    host.args.output_dir = str(tmp_path)
    hook = host.attach(sampler=object())
    hook.load({"reweight": "anything"})
    assert host.criterion.base_criterion is host.base
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_config_dicts_become_plain_ones_so_that_checkpoints_load_safely(mini_host):
    class ConfigDict(dict):
        pass

    host = mini_host(ConfigDict(type="class_volume", min_samples=2))
    host.attach()
    assert type(host.args.reweight) is dict


@pytest.mark.parametrize(
    ("reweight", "changes", "message"),
    [
        (DV, {"pretrain_cvlp": True}, "pre-training stage"),
        ({"type": "class_volum"}, {}, "did you mean 'class_volume'"),
        ({"variant": "dv"}, {}, "give a type"),
        ("class_volume", {}, "reweight=dict"),
        ({**DV, "min_sampels": 3}, {}, "'min_sampels': did you mean 'min_samples'"),
        ({**DV, "brunch": "visual"}, {}, "'brunch': did you mean 'branch'"),
        ({**DV, "branch": "text"}, {}, "'image_text', 'visual', 'sum', 'each'"),
        ({**DV, "branch": "image_text"}, {"two_branch": False}, "single output"),
        ({**DV, "source": "clean"}, {}, "'stream', 'clean_pass'"),
        ({**DV, "every": 2}, {}, "clean_pass' only"),
        ({**DV, "source": "clean_pass", "every": 0}, {}, "1 or more"),
        ({"type": "inverse", "source": "clean_pass"}, {}, "reads logits only"),
        ({**DV, "variant": "pv", "memory_limit": 99}, {}, "memory_limit"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_wrapped(mini_host, reweight, changes, message):
    host = mini_host(reweight, **changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        host.attach()
    assert host.criterion.base_criterion is host.base
    assert not host.model._forward_hooks


def test_a_base_criterion_other_than_softmax_cross_entropy_is_refused(mini_host):
    for base, message in (
        (nn.BCEWithLogitsLoss(), "more than the weights"),
        (nn.MultiMarginLoss(), "mixed labels"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), "more than the weights"),
        (nn.CrossEntropyLoss(reduction="sum"), "more than the weights"),
    ):
        host = mini_host(DV)
        host.criterion.base_criterion = base
        with pytest.raises(ValueError, match=message):
            host.attach()
        assert host.criterion.base_criterion is base


@pytest.mark.parametrize("value", [None, False])
@pytest.mark.parametrize("more", [{}, {"weights": "clip.pth", "reweighting": True, "re_weight": None}])
def test_a_key_that_asks_for_nothing_is_the_baseline_and_no_misspelling(mini_host, capsys, value, more):
    host = mini_host(**more)
    host.args.reweight = value
    assert type(host.attach()) is Hook
    assert host.criterion.base_criterion is host.base
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("reweight", [{}, "", 0, True, []])
def test_a_key_that_says_no_type_is_refused_in_words_that_tell_how_to_leave_it_out(mini_host, reweight):
    host = mini_host(reweight)
    with pytest.raises(ValueError, match=r"got .*: give a type, .*None or no `reweight` at all re-weights nothing"):
        host.attach()


@pytest.mark.parametrize(
    "name", ["reweigth", "re_weight", "reweighting", "rewieght", "Reweight", "REWEIGHT", "re-weight"]
)
@pytest.mark.parametrize("beside", [{}, {"reweight": None}])
def test_a_dict_under_a_name_like_reweight_is_pointed_out(mini_host, capsys, name, beside):
    host = mini_host(**{name: DV}, lr=0.1)
    vars(host.args).update(beside)
    assert type(host.attach()) is Hook
    assert f"asks for no `reweight`, but has {name!r}: was that meant?" in capsys.readouterr().out


class SoftenedBy(SoftCrossEntropy):
    """A fork's base criterion, which also takes the epoch."""

    def forward(self, logits, targets, epoch):
        return super().forward(logits / (1 + epoch), targets)


class Named(SoftCrossEntropy):
    def forward(self, logits, targets, *, epoch, more=0, **rest):
        return super().forward(logits, targets)


class Optional(SoftCrossEntropy):
    def forward(self, logits, targets, epoch=0):
        return super().forward(logits, targets)


@pytest.mark.parametrize("kind", [SoftenedBy, Named])
@pytest.mark.parametrize("mixed", [True, False])
def test_a_base_criterion_with_a_further_argument_is_refused_by_its_name(mini_host, kind, mixed):
    host = mini_host(DV, mixed=mixed)
    host.criterion.base_criterion = kind()
    with pytest.raises(ValueError, match="missing a required argument: 'epoch'") as refused:
        host.attach()
    assert not re.search("mixup|cutmix|smoothing|loss_type", str(refused.value))
    assert type(host.criterion.base_criterion) is kind


@pytest.mark.parametrize(("more", "named"), [((3,), {}), ((), {"epoch": 3})])
def test_further_arguments_that_only_the_loop_gives_are_refused_at_the_first_step(mini_host, more, named):
    host = mini_host(DV)
    host.criterion.base_criterion = Optional()
    host.attach()
    x, targets = host.mixup(host.dataset.data[:8], torch.tensor(host.dataset.targets[:8]))
    with pytest.raises(ValueError, match=r"(1 argument\(s\)|`epoch`) more: what that does to the loss"):
        host.criterion.base_criterion(host.model(x)[0], targets, *more, **named)


def test_a_wrapper_with_a_further_argument_is_no_obstacle(mini_host):
    class OfEpoch(Wrapper):
        def forward(self, inputs, outputs, labels, epoch):
            return (1 + epoch) * super().forward(inputs, outputs, labels)

    host = mini_host(DV)
    host.criterion = OfEpoch(host.base)
    host.attach()
    x, targets = host.mixup(host.dataset.data[:8], torch.tensor(host.dataset.targets[:8]))
    outputs = host.model(x)
    assert torch.equal(host.criterion(x, outputs[0], targets, 1), 2 * host.base(outputs[0], targets))


def test_cutmix_with_a_hard_label_loss_is_refused(mini_host):
    class HardOnly(nn.Module):
        def forward(self, logits, targets):
            return nn.functional.nll_loss(logits.log_softmax(1), targets)

    host = mini_host(DV)
    host.criterion.base_criterion = HardOnly()
    with pytest.raises(ValueError, match="make mixup, cutmix, smoothing and loss_type agree"):
        host.attach()


def test_a_criterion_without_base_criterion_or_attached_twice_is_refused(mini_host):
    host = mini_host(DV)
    with pytest.raises(ValueError, match="module `base_criterion`"):
        host.attach(criterion=nn.CrossEntropyLoss())
    host.attach()
    with pytest.raises(ValueError, match="call attach once"):
        host.attach()


def test_targets_outside_the_classes_are_refused(mini_host):
    host = mini_host(DV)
    host.args.nb_classes = 4
    with pytest.raises(ValueError, match=r"4 classes.*found 4"):
        host.attach()


def test_logits_of_another_width_are_refused_at_the_first_step(mini_host):
    host = mini_host(DV)
    host.model.text = nn.Linear(6, 7)
    host.model.visual = nn.Linear(6, 7)
    host.mixup = None
    host.criterion.base_criterion = nn.CrossEntropyLoss()
    host.attach(mixup=None)
    with pytest.raises(ValueError, match=r"\[B, 5\].*got \[16, 7\]"):
        host.epoch(0)


def test_a_model_with_another_number_of_outputs_is_refused_at_the_first_step(mini_host):
    host = mini_host(DV)
    host.attach()
    host.model.two_branch = False
    with pytest.raises(ValueError, match="two_branch"):
        host.epoch(0)


def test_logits_that_are_no_output_of_the_model_are_refused(mini_host):
    host = mini_host(DV)
    host.attach()
    x = host.dataset.data[:4]
    outputs = host.model(x)
    with pytest.raises(ValueError, match="as they come"):
        host.criterion(x, outputs[1].clone(), torch.tensor([0, 1, 2, 3]))


def test_expected_draws_follow_the_sampler():
    targets = [0] * 8 + [1] * 2
    weighted = torch.utils.data.WeightedRandomSampler([1 / 8**0.5] * 8 + [1 / 2**0.5] * 2, 10)
    torch.testing.assert_close(
        expected_draws(weighted, targets, 3), torch.tensor([20 / 3, 10 / 3, 0], dtype=torch.float64)
    )
    uniform = torch.utils.data.RandomSampler(targets)
    assert expected_draws(uniform, targets, 3).tolist() == [8, 2, 0]
    with pytest.raises(ValueError, match="attribute `weights`"):
        expected_draws(object(), targets, 3)
    with pytest.raises(ValueError, match="one weight for each of the 9"):
        expected_draws(weighted, targets[:-1], 3)


def test_samplers_whose_draws_do_not_follow_from_their_kind_are_refused():
    targets = [0] * 8 + [1] * 2

    class Balanced(torch.utils.data.DistributedSampler):
        pass

    for sampler, message in (
        (torch.utils.data.WeightedRandomSampler([1.0] * 10, 10, replacement=False), "with replacement"),
        (Balanced(targets, num_replicas=1, rank=0), "attribute `weights`"),
        (torch.utils.data.WeightedRandomSampler([1.0] * 9 + [float("inf")], 10), "finite sampler weights"),
    ):
        with pytest.raises(ValueError, match=message):
            expected_draws(sampler, targets, 2)


def test_data_set_labels_must_be_whole_numbers(mini_host):
    host = mini_host(DV)
    host.dataset.targets[0] = 0.5
    with pytest.raises(ValueError, match="whole numbers"):
        host.attach()


def test_one_tensor_for_both_branches_is_refused(mini_host):
    host = mini_host(DV)
    host.attach()
    host.model.forward = lambda x: (host.model.text(x),) * 2
    with pytest.raises(ValueError, match="the same one twice"):
        host.epoch(0)


@pytest.mark.parametrize(
    ("reweight", "epochs", "first"),
    [
        ({**DV, "start_epoch": 3}, 3, 3),
        ({**DV, "start_epoch": 2}, 3, None),
        (DV, 1, 1),
        (DV, 2, None),
        ({"type": "inverse", "start_epoch": 5}, 5, 5),
        ({"type": "inverse"}, 1, None),
        ({"type": "none", "start_epoch": 5}, 5, None),
    ],
)
def test_weights_that_can_never_apply_are_warned_of(mini_host, capsys, reweight, epochs, first):
    host = mini_host(reweight, epochs=epochs)
    host.attach()
    said = capsys.readouterr().out
    assert ("never apply" in said) == (first is not None)
    assert first is None or f"apply from epoch {first} on, counted from 0, but there are {epochs} epochs" in said


@pytest.mark.parametrize(("epochs", "first"), [(4, 4), (5, None)])
def test_radii_measured_every_few_epochs_count_from_their_first_pass(mini_host, epochs, first):
    planned = mini_host({**DV, "start_epoch": 1}, epochs=epochs).plan()
    planned = replace(planned, settings=replace(planned.settings, source="clean_pass", every=4))
    assert planned.never_applies().startswith("the weights apply from epoch 4 on") == (first is not None)


def test_a_plan_changes_nothing(mini_host):
    host = mini_host(DV)
    before, hooks = host.criterion.base_criterion, len(host.model._forward_hooks)
    host.plan()
    assert host.criterion.base_criterion is before
    assert len(host.model._forward_hooks) == hooks
