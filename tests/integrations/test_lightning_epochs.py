"""Lightning: what is an epoch, what is training, and the folder of a run."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import vlltr_plugin.compat  # noqa: F401
from vlltr_plugin import ClassVolume, LogitAdjustedLoss, ReweightedLoss

lightning = pytest.importorskip("lightning.pytorch", reason="pip install 'vlltr-plugin[integrations]'")
from vlltr_plugin.cli import main  # noqa: E402
from vlltr_plugin.integrations.lightning import ReweightCallback  # noqa: E402

COUNTS = [60, 30, 12]
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
ORDER = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(1))
ROWS = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0)) * (1.0 + LABELS[:, None])
STEPS = 6  # a pass, in batches of 17


class Stream(IterableDataset):
    def __init__(self, endless=False):
        self.endless = endless

    def __iter__(self):
        items = [(ROWS[i], LABELS[i]) for i in ORDER.tolist()]
        yield from items
        while self.endless:
            yield from items


class Model(lightning.LightningModule):
    def __init__(self, criterion, gradients=False):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        torch.nn.init.constant_(self.layer.weight, 0.01)
        torch.nn.init.zeros_(self.layer.bias)
        self.loss = lambda logits, labels: criterion(logits, labels)  # no submodule
        self.gradients, self.lr, self.plain, self.reported = gradients, 0.1, [], []

    def training_step(self, batch, index):
        return self.loss(self.layer(batch[0]), batch[1])

    def validation_step(self, batch, index):
        with torch.set_grad_enabled(self.gradients):
            logits = self.layer(batch[0])
            loss = self.loss(logits, batch[1])
        self.reported.append(float(loss))
        self.plain.append(float(F.cross_entropy(logits, batch[1])))
        self.log("val_loss", loss.detach())
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def loader(data=None):
    return DataLoader(data or TensorDataset(ROWS[ORDER], LABELS[ORDER]), batch_size=17)


def trainer_of(folder, callback, callbacks=(), **options):
    return lightning.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=[callback, *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 2, "enable_checkpointing": bool(callbacks), "inference_mode": False, **options},
    )


def saver(folder):
    return lightning.callbacks.ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)


def fit(folder, criterion, data=None, gradients=None, ckpt=None, saves=False, of_callback=None, **options):
    callback = ReweightCallback(criterion, **(of_callback or {}))
    trainer = trainer_of(folder, callback, [saver(folder)] if saves else [], **options)
    model = Model(criterion, bool(gradients))
    trainer.fit(model, loader(data), None if gradients is None else loader(), ckpt_path=ckpt)
    return trainer, model


def volume(made=ReweightedLoss):
    return made(ClassVolume(COUNTS))


def progress(path):
    """Epoch in progress and whether there are radii, of a saved state."""
    weighting, state = volume().weighting, torch.load(path)["callbacks"]["ReweightCallback"]
    weighting.load_state_dict({name.removeprefix("weighting."): value for name, value in state.items()})
    return [weighting.epoch, weighting.has_radii]


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("gradients", [False, True])
def test_validation_and_test_report_the_plain_loss_and_are_not_observed(tmp_path, made, gradients):
    expected, criterion = volume(made), volume(made)
    fit(tmp_path, expected)
    trainer, model = fit(tmp_path, criterion, gradients=gradients, val_check_interval=2)
    trainer.test(model, loader(), verbose=False)
    assert torch.equal(criterion.weighting.weights, expected.weighting.weights)
    assert len(model.reported) > 2 * STEPS
    assert model.reported == pytest.approx(model.plain, rel=1e-5)
    assert criterion.training


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_learning_rate_finder_is_no_part_of_the_epochs(tmp_path, when, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected, criterion = volume(), volume()
    _, plain = fit(tmp_path, expected)
    callback, model = ReweightCallback(criterion), Model(criterion)
    if when == "before":
        tuned = trainer_of(tmp_path, callback, max_epochs=2)
        lightning.tuner.Tuner(tuned).lr_find(model, loader(), num_training=8, update_attr=False)
        trainer_of(tmp_path, callback).fit(model, loader())
    else:

        class Finder(lightning.callbacks.LearningRateFinder):
            def on_fit_start(self, *args):
                pass

            def on_train_epoch_start(self, trainer, module):
                self.lr_find(trainer, module)

        finder = Finder(num_training_steps=4, update_attr=False)
        trainer_of(tmp_path, callback, [finder], enable_checkpointing=False).fit(model, loader())
    assert criterion.drawn.tolist() == COUNTS
    torch.testing.assert_close(criterion.weighting.weights, expected.weighting.weights)
    torch.testing.assert_close(model.layer.weight, plain.layer.weight)


@pytest.mark.parametrize("data", [None, Stream()], ids=["items", "stream"])
def test_a_checkpoint_of_the_last_batch_holds_what_the_epoch_measured(tmp_path, data):
    whole, resumed = volume(), volume()
    fit(tmp_path, whole, data, saves=True)
    assert [progress(tmp_path / f"step={step}.ckpt") for step in (5, 6, 11, 12)] == [[0, 0], [1, 1], [1, 1], [2, 1]]
    fit(tmp_path / "on", resumed, data, ckpt=tmp_path / "step=6.ckpt")
    assert torch.equal(resumed.weighting.weights, whole.weighting.weights)


@pytest.mark.parametrize("data", [None, Stream()], ids=["items", "stream"])
def test_an_epoch_resumed_inside_keeps_the_radii_unless_its_data_come_whole(tmp_path, data):
    """Lightning passes over a stream anew; the epoch after is measured in any case."""
    fit(tmp_path, volume(), data, saves=True)
    path = tmp_path / "step=8.ckpt"
    radii = torch.load(path)["callbacks"]["ReweightCallback"]["weighting.log_radius64"]
    resumed = volume()
    fit(tmp_path / "on", resumed, data, ckpt=path)
    assert resumed.weighting.epoch == 2
    assert torch.equal(resumed.weighting.log_radius64, radii) == (data is None)
    resumed = volume()
    fit(tmp_path / "further", resumed, data, ckpt=path, max_epochs=3)
    assert not torch.equal(resumed.weighting.log_radius64, radii)


def test_the_rest_of_an_epoch_is_known_after_a_fit_that_broke_off(tmp_path):
    fit(tmp_path, volume(), saves=True)
    path = tmp_path / "step=8.ckpt"
    used = volume()
    callback, broken = ReweightCallback(used), Model(used)
    broken.on_before_backward = lambda loss: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer_of(tmp_path / "broken", callback).fit(broken, loader())
    trainer_of(tmp_path / "on", callback).fit(Model(used), loader(), ckpt_path=path)
    before = torch.load(path)["callbacks"]["ReweightCallback"]["weighting.log_radius64"]
    assert torch.equal(used.weighting.log_radius64, before)


def test_a_second_fit_goes_on_with_the_weights_also_above_epoch_255(tmp_path, capsys):
    """A state keeps the epoch in digits of base 256."""
    data = DataLoader(TensorDataset(ROWS, LABELS), batch_size=len(ROWS))
    whole, stopped = volume(), volume()
    trainer_of(tmp_path, ReweightCallback(whole), max_epochs=258).fit(Model(whole), data)
    trainer, model = trainer_of(tmp_path, ReweightCallback(stopped), max_epochs=257), Model(stopped)
    trainer.fit(model, data)
    trainer.fit_loop.max_epochs = 258
    trainer.fit(model, data)
    assert torch.equal(stopped.weighting.weights, whole.weighting.weights)
    assert "epoch" not in capsys.readouterr().out


def test_steps_per_epoch_ends_epochs_of_endless_data(tmp_path):
    whole, resumed = volume(), volume()
    options = {"of_callback": {"steps_per_epoch": 4}, "max_steps": 10, "max_epochs": -1}
    trainer, _ = fit(tmp_path, whole, Stream(endless=True), saves=True, **options)
    assert whole.weighting.epoch == 2
    assert [progress(tmp_path / f"step={step}.ckpt")[0] for step in (3, 4, 7, 8, 10)] == [0, 1, 1, 2, 2]
    assert trainer.callback_metrics["train_reweight_alpha_max"] > 0
    fit(tmp_path / "on", resumed, Stream(endless=True), ckpt=tmp_path / "step=4.ckpt", **options)
    assert resumed.weighting.epoch == 2


def test_a_run_s_folder_can_be_inspected_and_compared(tmp_path, capsys):
    for name in ("one", "two"):
        criterion = volume()
        callback = ReweightCallback(criterion, folder=tmp_path / name)
        trainer, model = trainer_of(tmp_path, callback), Model(criterion)
        trainer.fit(model, loader(), loader())
    assert main(["inspect", str(tmp_path / "one")]) == 0
    assert main(["compare", f"a={tmp_path / 'one'}", f"b={tmp_path / 'two'}"]) == 0
    accuracy = 100 * float(trainer.callback_metrics["val_acc"])
    assert math.isfinite(accuracy)
    assert f"{accuracy:.2f}"[:4] in capsys.readouterr().out
    with pytest.raises(ValueError, match="holds a run up to epoch 1"):
        trainer_of(tmp_path, ReweightCallback(volume(), folder=tmp_path / "one")).fit(Model(volume()), loader())


def test_a_second_end_of_the_epochs_is_told(tmp_path):
    criterion = volume()

    class Ends(Model):
        def on_train_epoch_end(self):
            criterion.observe(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3)
            criterion.end_epoch()

    with pytest.raises(ValueError, match=r"folder=\.\.\."):
        trainer_of(tmp_path, ReweightCallback(criterion), max_epochs=3).fit(Ends(criterion), loader())
