"""Lightning: a resumed run has the weights of one that never stopped."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss

lightning = pytest.importorskip("lightning.pytorch", reason="pip install 'vlltr-plugin[integrations]'")
from vlltr_plugin.integrations.lightning import ReweightCallback  # noqa: E402

COUNTS = [60, 30, 12]
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))


class Model(lightning.LightningModule):
    def __init__(self, criterion):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        torch.nn.init.constant_(self.layer.weight, 0.01)
        torch.nn.init.zeros_(self.layer.bias)
        # Not as a submodule, with which the state would be the module's own.
        self.loss = F.cross_entropy if criterion is None else lambda logits, labels: criterion(logits, labels)

    def training_step(self, batch, index):
        return self.loss(self.layer(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", self.loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader():
    rows = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0)) * (1.0 + LABELS[:, None])
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(rows[order], LABELS[order]), batch_size=17)


def fit(folder, criterion, epochs, ckpt=None, validates=False, **options):
    callbacks = [lightning.callbacks.ModelCheckpoint(dirpath=folder, filename="{epoch}", save_top_k=-1)]
    callbacks += [] if criterion is None else [ReweightCallback(criterion)]
    trainer = lightning.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    model = Model(criterion)
    trainer.fit(model, loader(), loader() if validates else None, ckpt_path=ckpt)
    return trainer, model


@pytest.mark.parametrize("validates", [False, True])
@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
def test_a_resumed_run_has_the_weights_of_one_that_never_stopped(tmp_path, made, validates):
    whole, stopped, resumed = (made(ClassVolume(COUNTS)) for _ in range(3))
    _, expected = fit(tmp_path / "whole", whole, 3, validates=validates)
    fit(tmp_path / "stopped", stopped, 2, validates=validates)
    trainer, model = fit(tmp_path / "resumed", resumed, 3, tmp_path / "stopped" / "epoch=1.ckpt", validates)
    assert whole.weighting.epoch == resumed.weighting.epoch == 3
    assert not torch.equal(whole.weighting.weights, torch.ones(3))
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert torch.equal(model.layer.weight, expected.layer.weight)
    assert trainer.callback_metrics["train_reweight_alpha_max"] > 1


def test_validation_is_not_observed(tmp_path):
    first, second = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    fit(tmp_path / "without", first, 2)
    fit(tmp_path / "with", second, 2, validates=True)
    assert torch.equal(first.weighting.weights, second.weighting.weights)


def test_a_checkpoint_without_a_state_is_said(tmp_path, capsys):
    fit(tmp_path / "plain", None, 2)
    ckpt = tmp_path / "plain" / "epoch=1.ckpt"
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    callback = ReweightCallback(criterion)
    model = Model(criterion)
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", callbacks=[callback], logger=False, default_root_dir=tmp_path
    )
    trainer.fit(model, loader(), ckpt_path=ckpt)
    assert "no re-weighting state: the weights start at 1, in epoch 2" in capsys.readouterr().out
    assert criterion.weighting.epoch == 3


def test_another_run_s_settings_are_refused(tmp_path):
    fit(tmp_path / "dv", ReweightedLoss(ClassVolume(COUNTS)), 1)
    with pytest.raises(ValueError, match="type"):
        fit(tmp_path / "other", ReweightedLoss(InverseFrequency(COUNTS)), 2, tmp_path / "dv" / "epoch=0.ckpt")


@pytest.mark.parametrize("start_epoch", [0, 1])
def test_another_fold_begins_with_weights_of_1(tmp_path, capsys, start_epoch):
    used, fresh = (ReweightedLoss(ClassVolume(COUNTS, start_epoch=start_epoch)) for _ in range(2))
    fit(tmp_path / "first", used, 2)
    capsys.readouterr()
    _, model = fit(tmp_path / "second", used, 2)
    assert "measured before (2 epochs) is dropped: the weights start at 1, in epoch 0" in capsys.readouterr().out
    _, expected = fit(tmp_path / "fresh", fresh, 2)
    assert torch.equal(model.layer.weight, expected.layer.weight)
    assert torch.equal(used.weighting.weights, fresh.weighting.weights)


def test_what_a_stopped_fit_observed_is_no_part_of_the_next(tmp_path):
    used, fresh = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    for rows, labels in loader():
        used(rows[:, :3].clone().requires_grad_(), labels)
    for name, criterion in (("used", used), ("fresh", fresh)):
        fit(tmp_path / name, criterion, 1)
    assert torch.equal(used.weighting.weights, fresh.weighting.weights)
    assert used.drawn.tolist() == COUNTS


def test_each_of_two_criteria_is_resumed_with_its_own_state(tmp_path):
    def run(epochs, ckpt=None):
        criteria = [ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2)]
        model = Model(lambda logits, labels: criteria[0](logits, labels) + criteria[1](logits**2, labels))
        callbacks = [ReweightCallback(criteria[0]), ReweightCallback(criteria[1], name="second")]
        callbacks.append(lightning.callbacks.ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1))
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", callbacks=callbacks, logger=False, enable_progress_bar=False
        )
        trainer.fit(model, loader(), ckpt_path=ckpt)
        return criteria, trainer

    expected, trainer = run(2)
    assert not torch.allclose(expected[0].weighting.weights, expected[1].weighting.weights, rtol=0.05)
    assert {"train_reweight_alpha_max", "train_reweight_second_alpha_max"} <= trainer.callback_metrics.keys()
    found, _ = run(2, tmp_path / "epoch=1.ckpt")
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.weighting.weights, other.weighting.weights)


@pytest.mark.parametrize("tests", [False, True])
def test_a_checkpoint_that_was_tested_is_no_start_of_another_fold(tmp_path, tests, capsys):
    used, fresh = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    callback = ReweightCallback(used)
    options = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    for fold in ("first", "second"):
        saves = lightning.callbacks.ModelCheckpoint(dirpath=tmp_path / fold, filename="{epoch}", save_top_k=-1)
        trainer, model = lightning.Trainer(**options, callbacks=[callback, saves]), Model(used)
        trainer.fit(model, loader())
        trained = model.layer.weight.detach().clone()
        if tests:
            trainer.validate(model, loader(), ckpt_path=tmp_path / fold / "epoch=0.ckpt")
    assert "measured before" in capsys.readouterr().out
    _, expected = fit(tmp_path / "fresh", fresh, 2)
    assert torch.equal(trained, expected.layer.weight)


def save_every_step(folder, criterion, epochs):
    """Checkpoints `step=1.ckpt`, ..."""
    saver = lightning.callbacks.ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [ReweightCallback(criterion), saver]
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=callbacks, logger=False)
    trainer.fit(Model(criterion), loader())


@pytest.mark.parametrize("step", [8, 11])
def test_the_rest_of_an_epoch_that_was_resumed_inside_changes_no_radii(tmp_path, step, capsys):
    """Six steps an epoch."""
    first, resumed = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    save_every_step(tmp_path, first, 2)
    fit(tmp_path / "on", resumed, 2, tmp_path / f"step={step}.ckpt")
    saved = torch.load(tmp_path / f"step={step}.ckpt")["callbacks"]["ReweightCallback"]
    assert resumed.weighting.epoch == 2
    assert bool(saved["weighting.log_radius64"].any())
    assert torch.equal(resumed.weighting.log_radius64, saved["weighting.log_radius64"])
    assert "of epoch 1 only the rest was seen" in capsys.readouterr().out
    fit(tmp_path / "further", resumed, 3, tmp_path / "on" / "epoch=1.ckpt")
    assert not torch.equal(resumed.weighting.log_radius64, saved["weighting.log_radius64"])


def test_the_rest_of_the_first_epoch_is_measured_for_want_of_another(tmp_path):
    first, resumed = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    save_every_step(tmp_path, first, 1)
    fit(tmp_path / "on", resumed, 1, tmp_path / "step=2.ckpt")
    assert resumed.weighting.has_radii
