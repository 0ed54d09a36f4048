from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vlltr_plugin.cifar_lt import sweep as sweep_module
from vlltr_plugin.cifar_lt.batches import Batches
from vlltr_plugin.cifar_lt.methods import METHODS
from vlltr_plugin.cifar_lt.results import read
from vlltr_plugin.cifar_lt.sweep import Sweep
from vlltr_plugin.cifar_lt.training import Schedule, Training

LABELS = {"dataset": "cifar10", "imbalance": 20}
RECIPE = Schedule(epochs=3, start_epoch=2, batch_size=50)
TIMES = ("seconds", "together")


@pytest.fixture(autouse=True)
def saves_every_epoch(monkeypatch):
    monkeypatch.setattr(sweep_module, "SAVE_EVERY", 0.0)


def sweep(batches, results, methods, seeds=(0,), schedule=RECIPE, **options):
    """The results of a sweep, by method and seed, without what the clock says."""
    said = []
    Sweep(batches, LABELS, schedule, results, say=said.append, **options).run(methods, list(seeds))
    lines = [{key: value for key, value in line.items() if key not in TIMES} for line in read(results)]
    return {(line["method"], line["seed"]): line for line in lines}, said


@pytest.fixture
def trained(monkeypatch):
    """The seeds and the number of every epoch that is trained; Ctrl-C comes when `dies_after` of them are."""
    train, log = Training.train, SimpleNamespace(epochs=[], dies_after=None)

    def recorded(training):
        if len(log.epochs) == log.dies_after:
            log.dies_after = None
            raise KeyboardInterrupt
        log.epochs.append((training.seeds, training.epoch))
        train(training)

    monkeypatch.setattr(Training, "train", recorded)
    return log


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """A sweep that nothing interrupted."""
    batches = Batches(digits, torch.device("cpu"))
    return sweep(batches, tmp_path_factory.mktemp("whole") / "results.jsonl", ["ce", "dv"])[0]


def test_every_method_runs_and_reports(batches, tmp_path):
    schedule = Schedule(epochs=2, start_epoch=1, batch_size=100)
    found, _ = sweep(batches, tmp_path / "results.jsonl", list(METHODS), schedule=schedule, share_warmup=True)
    assert sorted(method for method, _ in found) == sorted(METHODS)
    for (name, _), line in found.items():
        method, errors = METHODS[name], [error for _, error in line["curve"]]
        assert [epoch for epoch, _ in line["curve"]] == [0, 1]
        assert (line["last_error"], line["best_error"]) == (errors[-1], min(errors))
        assert np.mean(line["class_errors"]) == pytest.approx(errors[-1], abs=0.01)  # 5 test images a class
        assert (line["log_radius"] is not None) == (method.weighting == "class_volume")
        if method.options.get("normalize") != "mean":
            assert line["expected_alpha"] == pytest.approx(1, abs=1e-5)
        assert (max(line["weights"]) > 1.01) == (method.weighting != "none")
    assert not (tmp_path / "results.states").exists()


@pytest.mark.parametrize("methods", [["ce", "dv"], ["inverse-la", "dv-la"]])
def test_a_shared_warm_up_changes_no_number(batches, tmp_path, methods):
    alone, _ = sweep(batches, tmp_path / "alone.jsonl", methods)
    shared, _ = sweep(batches, tmp_path / "shared.jsonl", methods, share_warmup=True)
    assert shared == alone
    assert shared[methods[0], 0]["weights"] != pytest.approx(shared[methods[1], 0]["weights"], rel=0.01)


def test_seeds_together_and_alone_agree(batches, tmp_path):
    schedule = Schedule(epochs=1, start_epoch=1, batch_size=50)  # later epochs amplify the rounding
    together, _ = sweep(batches, tmp_path / "together.jsonl", ["dv"], (0, 1), schedule, together=2)
    alone, _ = sweep(batches, tmp_path / "alone.jsonl", ["dv"], (0, 1), schedule)
    for key in alone:
        np.testing.assert_allclose(together[key]["log_radius"], alone[key]["log_radius"], atol=1e-3)
    assert together["dv", 0]["log_radius"] != together["dv", 1]["log_radius"]


@pytest.mark.parametrize(("share", "after"), [(False, 1), (False, 4), (True, 1), (True, 4)])
def test_an_interrupted_sweep_goes_on_where_it_stopped(batches, tmp_path, trained, whole, share, after):
    trained.dies_after = after
    with pytest.raises(KeyboardInterrupt):
        sweep(batches, tmp_path / "cut.jsonl", ["ce", "dv"], share_warmup=share)
    found, _ = sweep(batches, tmp_path / "cut.jsonl", ["ce", "dv"], share_warmup=share)
    assert found == whole
    assert len(trained.epochs) == (1 + 2 + 2 if share else 3 + 3)  # no epoch twice


def test_quick_epochs_are_not_all_saved(batches, tmp_path, monkeypatch, whole):
    monkeypatch.setattr(sweep_module, "SAVE_EVERY", 3600.0)
    saved, save = [], sweep_module._save
    monkeypatch.setattr(sweep_module, "_save", lambda path, state: (saved.append(state["epoch"]), save(path, state)))
    assert sweep(batches, tmp_path / "results.jsonl", ["dv"])[0]["dv", 0] == whole["dv", 0]
    assert saved == [1, 3]  # the first, and the last


def test_a_run_killed_between_its_last_epoch_and_its_line_is_not_trained_again(batches, tmp_path, monkeypatch, whole):
    results = tmp_path / "results.jsonl"
    with monkeypatch.context() as broken:
        broken.setattr("vlltr_plugin.cifar_lt.sweep.append", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            sweep(batches, results, ["dv"])
    monkeypatch.setattr(Training, "train", lambda training: pytest.fail("trained again"))
    assert sweep(batches, results, ["dv"])[0]["dv", 0] == whole["dv", 0]


def test_runs_of_another_recipe_do_not_count_as_done(batches, tmp_path):
    for schedule in (RECIPE, Schedule(epochs=2, start_epoch=1, batch_size=50)):
        sweep(batches, tmp_path / "results.jsonl", ["ce"], schedule=schedule)
    assert [line["epochs"] for line in read(tmp_path / "results.jsonl")] == [3, 2]


def test_the_statistics_of_the_epoch_before_the_start_give_the_first_weights(batches):
    training = Training(batches, METHODS["dv"], RECIPE, [0])
    for _ in range(2):
        training.train()
        assert torch.equal(training.weights[0], torch.ones(10))
    known = training.criteria[0].weighting.weights.clone()
    training.train()
    torch.testing.assert_close(training.weights[0], known)
    assert known.max() > 1.5


def test_seeds_begun_together_end_together_and_only_missing_ones_are_reported(batches, tmp_path, trained):
    schedule, results = Schedule(epochs=2, start_epoch=1, batch_size=100), tmp_path / "results.jsonl"
    sweep(batches, results, ["ce"], (0,), schedule)
    trained.dies_after = 3
    with pytest.raises(KeyboardInterrupt):
        sweep(batches, results, ["ce"], (0, 1, 2), schedule, together=3)
    found, said = sweep(batches, results, ["ce", "ce"], (0, 1, 2), schedule, together=3)
    assert trained.epochs == [([0], 0), ([0], 1), ([1, 2], 0), ([1, 2], 1)]
    assert "ce, seed 0: in the results already" in said
    assert len(read(results)) == len(found) == 3
    assert not (tmp_path / "results.states").exists()


@pytest.mark.parametrize("options", [{"sampler": "sqrt"}, {"mixup": 0.5}])
def test_expected_weight_is_1_under_other_samplers_and_mixup(digits, tmp_path, options):
    schedule = Schedule(epochs=3, start_epoch=2, batch_size=50, **options)
    batches = Batches(digits, torch.device("cpu"), schedule.sampler, schedule.batch_size, schedule.mixup)
    found, _ = sweep(batches, tmp_path / "r.jsonl", ["dv", "dv-letter"], schedule=schedule)
    assert found["dv", 0]["expected_alpha"] == pytest.approx(1, abs=1e-5)
    if schedule.sampler == "sqrt":
        assert found["dv-letter", 0]["expected_alpha"] > 1.1


def test_post_hoc_adjustment_changes_test_errors_only(batches):
    plain, adjusted = (Training(batches, METHODS[name], RECIPE, [0]) for name in ("ce", "logit-adjustment"))
    for training, tau in ((plain, 0), (adjusted, 1)):
        training.train()
        scale = training.test_logits().std()  # else no class is near enough to another to change places
        for parameter in training.model.head.parameters():
            parameter.data /= scale
        training._test()
        logits = training.test_logits()[0].double().numpy()
        predicted = (logits - tau * np.log(batches.class_counts.numpy())).argmax(axis=1)
        np.testing.assert_array_equal(training.adjusted(training.test_logits())[0].argmax(1), predicted)
        assert training.curve[0][-1] == (1, pytest.approx(100 * (predicted != batches.test_labels.numpy()).mean()))
    for one, two in zip(plain.model.parameters(), adjusted.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert (predicted != logits.argmax(axis=1)).any()


def test_influence_divides_the_weighted_losses_from_the_start_epoch_on(batches):
    balanced, plain = (Training(batches, METHODS[name], RECIPE, [0]) for name in ("ib", "ce"))
    for epoch in range(3):
        batch = next(batches.epoch([0], epoch))
        found, expected = balanced._loss(batch).item(), plain._loss(batch).item()
        if epoch == RECIPE.start_epoch:
            logits, norms = (output[0].detach().double() for output in balanced.model(batch.images))
            alpha, labels = 1 / batches.class_counts.double(), batch.targets[0]
            own = logits.log_softmax(dim=1).gather(1, labels[:, None])[:, 0]
            factors = 1000 / (2 * (1 - own.exp()) * norms + 0.001)
            expected = (-(alpha * 10 / alpha.sum())[labels] * own * factors).mean().item()
        assert found == pytest.approx(expected, rel=1e-4 if epoch == RECIPE.start_epoch else 0, abs=0)
        balanced.train()
        plain.train()
