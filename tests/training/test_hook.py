"""The epoch hook: schedule, statistics, arrays, state, ranks."""

import copy
import io
import math
import sys
import types
import warnings
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from epochs import quiet
from mini_host import COUNTS, MiniHost, trained
from process_groups import on_two_ranks
from recorded_run import COUNTS as THREE
from recorded_run import observe
from torch.nn.parallel import DistributedDataParallel

from vlltr_plugin import ClassVolume, ReweightedLoss
from vlltr_plugin.core import criterion as core_criterion
from vlltr_plugin.core import weighting as core_weighting
from vlltr_plugin.core.registry import WEIGHTINGS
from vlltr_plugin.training import hook as training_hook

DV = {"type": "class_volume"}
EACH = {**DV, "branch": "each"}
KEYS = (
    *("alpha_min", "alpha_median", "alpha_max", "log_radius_mean", "substituted", "skipped"),
    *("expected_alpha", "drawn_alpha", "drawn_alpha_se", "seconds"),
)


def loaded(checkpoint):
    """As the host saves it and torch >= 2.6 loads it: safely."""
    file = io.BytesIO()
    torch.save({key: value for key, value in checkpoint.items() if key != "args"}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def step(host, targets=None):
    """The host's criterion on sixteen images."""
    labels = torch.tensor(host.dataset.targets[:16])
    for output in host.model(host.dataset.data[:16]):
        host.criterion(None, output, labels if targets is None else targets)


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("branch", ["image_text", "visual", "sum", "each"])
def test_the_first_epoch_equals_the_baseline_bit_for_bit_and_later_ones_differ(mixed, branch):
    found, expected = (trained(key, 2, mixed=mixed).losses for key in ({**DV, "branch": branch}, None))
    assert found[0] == expected[0]
    assert found[1] != expected[1]


def test_type_none_is_the_baseline_throughout():
    assert trained({"type": "none"}, 3).losses == trained(None, 3).losses


def test_the_log_line_has_every_statistic_with_its_value():
    host = trained(DV, 1)
    first = host.stats
    assert list(first) == [f"reweight_{key}" for key in KEYS]
    assert (first["reweight_alpha_min"], first["reweight_alpha_max"], first["reweight_drawn_alpha"]) == (1, 1, 1)
    assert first["reweight_substituted"] == 1  # the class of one image
    weights = host.hook.weightings["image_text"].weights.clone()
    host.epoch(1, batches=200)
    second = host.stats
    assert second["reweight_alpha_max"] == pytest.approx(float(weights.max()))
    assert second["reweight_alpha_median"] == pytest.approx(float(weights.median()))
    assert second["reweight_expected_alpha"] == pytest.approx(1, abs=1e-6)
    assert 0 < second["reweight_drawn_alpha_se"] < 0.05
    assert abs(second["reweight_drawn_alpha"] - 1) < 3 * second["reweight_drawn_alpha_se"]


def test_the_arrays_of_each_epoch_are_written_for_each_branch(tmp_path):
    host = trained(EACH, 2, output_dir=str(tmp_path))
    files = sorted(path.name for path in (tmp_path / "reweight").iterdir())
    assert files == ["epoch_0000.npz", "epoch_0001.npz"]
    first, second = (np.load(tmp_path / "reweight" / name) for name in files)
    assert first["counts"].tolist() == COUNTS
    assert first["draws"].sum() == pytest.approx(sum(COUNTS))
    assert [arrays["drawn"].sum() for arrays in (first, second)] == pytest.approx([8 * 16] * 2)
    for branch, prefix in (("image_text", "reweight"), ("visual", "reweight_visual")):
        assert first[f"weights_{branch}"].tolist() == [1] * 5
        assert np.array_equal(first[f"next_weights_{branch}"], second[f"weights_{branch}"])
        assert first[f"substituted_{branch}"].tolist() == [False] * 4 + [True]
        raw = np.exp(first[f"log_radius_{branch}"]) / first["draws"]
        alpha = raw * first["draws"].sum() / (raw * first["draws"]).sum()
        np.testing.assert_allclose(first[f"next_weights_{branch}"], alpha, rtol=1e-5)
        assert host.stats[f"{prefix}_alpha_max"] == pytest.approx(alpha.max(), rel=1e-5)
    assert not np.array_equal(second["weights_image_text"], second["weights_visual"])


@pytest.mark.parametrize("reweight", [DV, EACH])
def test_a_resumed_run_has_the_weights_and_the_losses_of_an_uninterrupted_run(reweight):
    whole, resumed = trained(reweight, 2), trained(reweight)
    checkpoint, optimizer = loaded(whole.state()), copy.deepcopy(whole.optimizer.state_dict())
    resumed.hook.load(checkpoint)
    resumed.model.load_state_dict(checkpoint["model"])
    resumed.optimizer.load_state_dict(optimizer)
    for name, weighting in resumed.hook.weightings.items():
        assert torch.equal(weighting.weights, whole.hook.weightings[name].weights)
        assert weighting.active
    for epoch in (2, 3):
        assert whole.epoch(epoch) == resumed.epoch(epoch)


class Smoothed(ClassVolume):
    """A user's own: radii averaged over the epochs, in a buffer of its own."""

    def __init__(self, class_counts, draws=None, **options):
        super().__init__(class_counts, draws, **options)
        self.register_buffer("mean", torch.zeros(len(class_counts), dtype=torch.float64))

    def radii(self):
        return self.mean.add_(super().radii()).div_(2).clone()


def test_a_resumed_run_has_the_buffers_of_a_user_s_weighting(monkeypatch):
    monkeypatch.setitem(WEIGHTINGS, "smoothed", Smoothed)
    whole, resumed = trained({"type": "smoothed"}, 2), trained({"type": "smoothed"})
    resumed.hook.load(loaded(whole.state()))
    expected, found = (host.hook.weightings["image_text"].state_dict() for host in (whole, resumed))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_state_is_small_and_leaves_the_model_state_alone():
    host = trained(DV, 1)
    state = host.hook.checkpoint()["reweight"]["weightings"]["image_text"]
    assert max(value.numel() for value in state.values() if isinstance(value, torch.Tensor)) == 5
    assert list(host.model.state_dict()) == list(MiniHost().model.state_dict())


@pytest.mark.parametrize("kind", ["class_volume", "inverse"])
@pytest.mark.parametrize("branch", ["image_text", "sum", "each"])
def test_a_criterion_that_the_host_has_replaced_is_said_in_each_epoch(kind, branch, capsys):
    host = trained({"type": kind, "branch": branch}, 1)
    assert "never called" not in capsys.readouterr().out
    host.criterion.base_criterion = host.base
    for epoch in (1, 2):
        host.epoch(epoch)
        assert "the criterion as `attach` has left it" in capsys.readouterr().out


def test_a_state_in_a_run_without_the_key_is_named_and_ignored(capsys):
    trained().hook.load({"reweight": {}})
    assert "weights stay 1" in capsys.readouterr().out


def test_a_state_with_one_damaged_branch_changes_no_branch():
    state, second = loaded(trained(EACH, 1).state()), trained(EACH)
    state["reweight"]["weightings"]["visual"]["weights"].fill_(math.nan)
    with pytest.raises(ValueError, match="weights is finite"):
        second.hook.load(state)
    assert all(torch.equal(weighting.weights, torch.ones(5)) for weighting in second.hook.weightings.values())


def test_a_loop_that_skips_epochs_puts_the_weights_of_its_epoch_in_force():
    host = trained({"type": "inverse", "start_epoch": 5, "branch": "each"})
    for epoch, active in ((0, False), (7, True), (4, False)):
        host.hook.begin_epoch(epoch)
        for weighting in host.hook.weightings.values():
            assert weighting.active is active
            assert bool((weighting.weights == 1).all()) is not active


@pytest.mark.parametrize("how", ["eval", "no_grad"])
def test_evaluation_with_the_criterion_feeds_no_statistics(how):
    host = trained(DV, mixed=False)
    host.criterion.train(how != "eval")
    with torch.set_grad_enabled(how != "no_grad"):
        step(host)
    assert host.hook.weightings["image_text"]._moments is None
    assert host.hook.end_epoch(0)["reweight_drawn_alpha"] is None


def test_a_step_does_not_repeat_the_host_s_own_warnings():
    host = trained(DV)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # once for each place
        for _ in range(3):
            warnings.warn("the host's", stacklevel=1)
            step(host, F.one_hot(torch.arange(16) % 5, 5) * 0.9 + 0.1 / 5)
    assert [str(warning.message) for warning in caught] == ["the host's"]


def test_the_outputs_of_a_step_are_not_kept_alive():
    host = trained(DV)
    outputs = host.model(host.dataset.data[:16])
    reference = weakref.ref(outputs[1])
    del outputs
    assert reference() is None


def test_classes_without_images_do_not_enter_the_alphas_of_the_log():
    host = MiniHost({"type": "inverse", "start_epoch": 0}, mixed=False)
    host.dataset.targets = [0] * 100 + [1] * 8  # weights below and above 1; three classes are empty
    host.sampler = torch.utils.data.RandomSampler(host.dataset)
    host.attach()
    host.hook.begin_epoch(0)
    step(host)
    assert host.hook.end_epoch(0)["reweight_alpha_median"] == pytest.approx(108 / 2 / 100)


def test_an_epoch_that_keeps_the_radii_drops_what_it_observed_and_the_next_is_measured():
    criterion, radii = ReweightedLoss(ClassVolume(THREE)), []
    with quiet():
        for epoch in range(3):
            observe(criterion, epoch)
            if epoch == 1:
                criterion.keep_radii()
            criterion.end_epoch()
            radii.append(criterion.weighting.log_radius64.clone())
            assert criterion.drawn.tolist() == THREE
    assert torch.equal(radii[0], radii[1])
    assert not torch.equal(radii[1], radii[2])
    assert criterion.weighting.epoch == 3


@pytest.mark.parametrize("start", ["forget_epoch", "start_over", "load_state_dict"])
def test_radii_are_kept_in_the_epoch_that_it_was_said_for_not_in_one_that_begins_anew(start):
    stopped, expected = (ReweightedLoss(ClassVolume(THREE)) for _ in range(2))
    for criterion in (stopped, expected):
        observe(criterion, 0)
        criterion.end_epoch()
    state = stopped.state_dict()
    stopped.keep_radii()
    for criterion in (stopped, expected):
        getattr(criterion, start)(*[state] * (start == "load_state_dict"))
        observe(criterion, 1)
        criterion.end_epoch()
    assert torch.equal(stopped.weighting.weights, expected.weighting.weights)
    assert stopped.weighting.has_radii


def test_ranks_are_compared_once_an_epoch(monkeypatch):
    compared = []
    for module in (training_hook, core_criterion, core_weighting):
        monkeypatch.setattr(module, "refuse_differing_ranks", lambda card, device: compared.append(card))
    trained(EACH, 1)
    assert len(compared) == 1
    assert {"branch", "image_text: smoothing", "visual: smoothing", "visual: class_counts"} <= compared[0].keys()


def one_epoch(rank, folder, reweight):
    sys.modules["datasets"] = types.ModuleType("datasets")
    sys.modules["datasets"].build_transform = lambda is_train, args: lambda image: image
    host = MiniHost(reweight, mixed=False, output_dir=f"{folder}/run{rank}")
    host.model = DistributedDataParallel(host.model)
    if rank:
        host.dataset.data[:3] = math.nan
    seen = []
    if reweight.get("source") == "clean_pass":
        host.model.module.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    host.attach()
    host.hook.begin_epoch(0)
    step(host)
    seen.clear()
    stats = host.hook.end_epoch(0)
    return {"stats": stats, "weights": host.hook.weightings["image_text"].weights, "seen": sum(seen)}


def test_counts_of_all_ranks_are_summed_and_the_first_rank_alone_writes(tmp_path):
    first, second = on_two_ranks(one_epoch, tmp_path, DV)
    assert first["stats"]["reweight_skipped"] == second["stats"]["reweight_skipped"] == 3
    assert np.load(tmp_path / "run0" / "reweight" / "epoch_0000.npz")["drawn"].sum() == 32
    assert not (tmp_path / "run1").exists()
    assert torch.equal(first["weights"], second["weights"])


@pytest.mark.parametrize("every", [1, 2])
def test_the_ranks_share_a_clean_pass(tmp_path, every):
    first, second = on_two_ranks(one_epoch, tmp_path, {**DV, "source": "clean_pass", "every": every})
    assert first["seen"] == second["seen"] == (sum(COUNTS) // 2 if every == 1 else 0)
    assert torch.equal(first["weights"], second["weights"])
