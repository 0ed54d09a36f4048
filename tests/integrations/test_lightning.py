"""Lightning: what is an epoch, what is training; a resumed run equals an uninterrupted one."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from integrations.three_classes import COUNTS, LABELS, LOSSES, ORDER, ROWS, Stream, linear_model, progress, volume
from torch.utils.data import DataLoader, TensorDataset

import vlltr_plugin.compat  # noqa: F401
from vlltr_plugin import InverseFrequency, ReweightedLoss
from vlltr_plugin.cli import main

lightning = pytest.importorskip("lightning.pytorch", reason="pip install 'vlltr-plugin[integrations]'")
from vlltr_plugin.integrations.epochs import evaluation_metrics  # noqa: E402
from vlltr_plugin.integrations.lightning import ReweightCallback  # noqa: E402

STEPS = 6  # a pass, in batches of 17


ITEMS = list(zip(ROWS[ORDER], LABELS[ORDER], strict=True))
KINDS = pytest.mark.parametrize("data", [None, Stream(ITEMS)], ids=["items", "stream"])


class Model(lightning.LightningModule):
    def __init__(self, criterion, gradients=False):
        super().__init__()
        self.layer = linear_model()
        self.loss = lambda logits, labels: criterion(logits, labels)  # no submodule, with which the state would be its
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


def trainer_of(folder, *callbacks, saves=False, **options):
    saver = lightning.callbacks.ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    return lightning.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        callbacks=[*callbacks, *[saver] * saves],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 2, "enable_checkpointing": saves, "inference_mode": False, **options},
    )


def fit(folder, criterion, data=None, gradients=None, ckpt=None, of_callback=None, **options):
    """`gradients` in the validation, None for no validation."""
    trainer = trainer_of(folder, ReweightCallback(criterion, **(of_callback or {})), **options)
    model = Model(criterion, bool(gradients))
    trainer.fit(model, loader(data), None if gradients is None else loader(), ckpt_path=ckpt)
    return trainer, model


def state_in(folder, step):
    return torch.load(folder / f"step={step}.ckpt")["callbacks"]["ReweightCallback"]


def radii_weights(state):
    criterion = volume(start_epoch=0)
    criterion.load_state_dict(state)
    return criterion.in_force()


# Training


@pytest.mark.parametrize("made", LOSSES)
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
def test_a_learning_rate_finder_is_not_observed(tmp_path, when, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected, criterion = volume(), volume()
    _, plain = fit(tmp_path, expected)
    callback, model = ReweightCallback(criterion), Model(criterion)
    finder = lightning.callbacks.LearningRateFinder(num_training_steps=4, update_attr=False)
    if when == "before":
        tuned = trainer_of(tmp_path, callback)
        lightning.tuner.Tuner(tuned).lr_find(model, loader(), num_training=8, update_attr=False)
    else:
        finder.on_train_epoch_start = finder.lr_find
    finder.on_fit_start = lambda *args: None
    trainer_of(tmp_path, callback, finder).fit(model, loader())
    assert criterion.drawn.tolist() == COUNTS
    torch.testing.assert_close(criterion.weighting.weights, expected.weighting.weights)
    torch.testing.assert_close(model.layer.weight, plain.layer.weight)


@pytest.mark.parametrize("start_epoch", [0, 1])
@pytest.mark.parametrize("validates", [False, True])
def test_another_fold_begins_with_weights_of_1(tmp_path, capsys, start_epoch, validates):
    """Also after a checkpoint of the fold before was loaded for a validation."""
    used, fresh = (volume(start_epoch=start_epoch) for _ in range(2))
    callback = ReweightCallback(used)
    for fold in ("first", "second"):
        callback = callback if validates else ReweightCallback(used)
        trainer, model = trainer_of(tmp_path / fold, callback, saves=True), Model(used)
        trainer.fit(model, loader())
        trained = model.layer.weight.detach().clone()
        if validates:
            trainer.validate(model, loader(), ckpt_path=tmp_path / fold / f"step={STEPS}.ckpt", verbose=False)
        said = capsys.readouterr().out
    assert f"measured before ({1 if validates else 2} epochs) is dropped: the weights start at 1, in epoch 0" in said
    _, expected = fit(tmp_path / "fresh", fresh)
    assert torch.equal(trained, expected.layer.weight)


def test_a_fit_drops_statistics_observed_before(tmp_path):
    used, fresh = volume(), volume()
    used(ROWS[:, :3].clone().requires_grad_(), LABELS)
    for name, criterion in (("used", used), ("fresh", fresh)):
        fit(tmp_path / name, criterion, max_epochs=1)
    assert torch.equal(used.weighting.weights, fresh.weighting.weights)
    assert used.drawn.tolist() == COUNTS


# Resumed runs


@KINDS
@pytest.mark.parametrize("made", LOSSES)
@pytest.mark.parametrize("gradients", [None, False])
def test_a_resumed_run_has_the_weights_of_an_uninterrupted_run(tmp_path, made, data, gradients):
    """A checkpoint of the last batch holds what the epoch measured."""
    whole, resumed = volume(made), volume(made)
    _, expected = fit(tmp_path, whole, data, gradients, saves=True, max_epochs=3)
    assert [progress(state_in(tmp_path, step)) for step in (5, 6, 11, 12)] == [[0, 0], [1, 1], [1, 1], [2, 1]]
    trainer, model = fit(tmp_path / "on", resumed, data, gradients, tmp_path / "step=12.ckpt", max_epochs=3)
    assert whole.weighting.epoch == resumed.weighting.epoch == 3
    assert not torch.equal(whole.weighting.weights, torch.ones(3))
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert torch.equal(model.layer.weight, expected.layer.weight)
    assert trainer.callback_metrics["train_reweight_alpha_max"] > 1


class Broken(lightning.Callback):
    """Breaks the validation at the end of the second epoch."""

    def on_validation_batch_start(self, trainer, *args):
        if trainer.current_epoch == 1 and not trainer.sanity_checking:
            raise ZeroDivisionError


# How a checkpoint comes to be saved in the validation after the second epoch: (options, of ModelCheckpoint, breaks)
IN_VALIDATION = {
    "every second epoch": ({"check_val_every_n_epoch": 2}, {}, False),
    "twice an epoch": ({"val_check_interval": 0.5}, {}, False),
    "on request": ({}, {"save_on_train_epoch_end": False}, False),
    "every two epochs' steps": ({"val_check_interval": 2 * STEPS, "check_val_every_n_epoch": None}, {}, False),
    "broken": ({}, None, True),
}


@pytest.mark.parametrize("records", [False, True])
@pytest.mark.parametrize("way", IN_VALIDATION)
def test_a_run_resumed_from_a_checkpoint_of_a_validation_equals_the_whole_run(tmp_path, way, records, capsys):
    options, of_saver, breaks = IN_VALIDATION[way]
    saver = lightning.callbacks.OnExceptionCheckpoint(tmp_path)
    saver.teardown = lambda *args: None  # it would remove the file
    if of_saver is not None:
        saver = lightning.callbacks.ModelCheckpoint(tmp_path, save_top_k=-1, **of_saver)

    def run(folder, epochs, *others, ckpt=None):
        criterion, seen = volume(start_epoch=2), []
        callback = ReweightCallback(criterion, folder=tmp_path / folder if records else None)
        model = Model(criterion)
        model.on_before_backward = lambda loss: seen.append(criterion.in_force())
        trainer = trainer_of(
            tmp_path, callback, *others, max_epochs=epochs, enable_checkpointing=bool(others), **options
        )
        if breaks and others:
            with pytest.raises(ZeroDivisionError):
                trainer.fit(model, loader(), loader())
        else:
            trainer.fit(model, loader(), loader(), ckpt_path=ckpt)
        return torch.stack(seen), model, criterion

    seen, expected, whole = run("whole", 5)
    run("run", 2, saver, *[Broken()] * breaks)
    saved = max(tmp_path.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    again, model, resumed = run("run", 5, ckpt=saved)
    assert torch.equal(again, seen[2 * STEPS :])
    assert torch.equal(model.layer.weight, expected.layer.weight)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    if records:
        lines = [json.loads(line) for line in (tmp_path / "run/log.txt").read_text().splitlines()]
        assert sorted({line["epoch"] for line in lines}) == list(range(5))
    assert "saved in epoch" not in capsys.readouterr().out


def test_a_checkpoint_without_a_state_gives_a_message_and_one_of_other_settings_an_error(tmp_path, capsys):
    trainer = trainer_of(tmp_path, saves=True)
    trainer.fit(Model(F.cross_entropy), loader())
    criterion = volume()
    fit(tmp_path / "on", criterion, ckpt=tmp_path / "step=12.ckpt", max_epochs=3)
    assert "no re-weighting state: the weights start at 1, in epoch 2" in capsys.readouterr().out
    assert criterion.weighting.epoch == 3
    fit(tmp_path / "dv", volume(), saves=True, max_epochs=1)
    with pytest.raises(ValueError, match="type"):
        fit(tmp_path / "other", ReweightedLoss(InverseFrequency(COUNTS)), ckpt=tmp_path / "dv" / "step=6.ckpt")


def test_each_of_two_criteria_is_resumed_with_its_own_state(tmp_path):
    def run(ckpt=None):
        criteria = [volume(), volume()]
        model = Model(lambda logits, labels: criteria[0](logits, labels) + criteria[1](logits**2, labels))
        callbacks = ReweightCallback(criteria[0]), ReweightCallback(criteria[1], name="second")
        trainer = trainer_of(tmp_path, *callbacks, saves=True)
        trainer.fit(model, loader(), ckpt_path=ckpt)
        return criteria, trainer

    expected, trainer = run()
    assert not torch.allclose(expected[0].weighting.weights, expected[1].weighting.weights, rtol=0.05)
    assert {"train_reweight_alpha_max", "train_reweight_second_alpha_max"} <= trainer.callback_metrics.keys()
    found, _ = run(tmp_path / "step=6.ckpt")
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.weighting.weights, other.weighting.weights)


@KINDS
@pytest.mark.parametrize("broken", [False, True])
def test_an_epoch_resumed_inside_keeps_the_radii_unless_its_data_come_whole(tmp_path, data, broken, capsys):
    """Lightning passes over a stream anew; the epoch after is measured in any case. Also after a fit that broke off."""
    fit(tmp_path, volume(), data, saves=True)
    for epochs in (2, 3):
        resumed = volume()
        callback, model = ReweightCallback(resumed), Model(resumed)
        if broken:
            model.on_before_backward = lambda loss: 1 / 0
            with pytest.raises(ZeroDivisionError):
                trainer_of(tmp_path / "broken", callback).fit(model, loader(data))
        trainer = trainer_of(tmp_path / "on", callback, max_epochs=epochs)
        trainer.fit(Model(resumed), loader(data), ckpt_path=tmp_path / "step=8.ckpt")
        assert resumed.weighting.epoch == epochs
        kept = torch.equal(resumed.weighting.log_radius64, state_in(tmp_path, 8)["weighting.log_radius64"])
        assert kept == (data is None and epochs == 2)
        assert ("only the rest of epoch 1 was observed" in capsys.readouterr().out) == (data is None)


def test_the_rest_of_the_first_epoch_is_measured_as_there_are_no_radii(tmp_path):
    fit(tmp_path, volume(), saves=True, max_epochs=1)
    resumed = volume()
    fit(tmp_path / "on", resumed, ckpt=tmp_path / "step=2.ckpt", max_epochs=1)
    assert resumed.weighting.has_radii


@KINDS
@pytest.mark.parametrize("step", [2, 8])
@pytest.mark.parametrize("way", ["max_steps", "should_stop"])
def test_a_run_that_stopped_inside_an_epoch_resumes_with_the_weights_in_force(tmp_path, step, data, way, capsys):
    """Never with those of the part that was observed; Lightning takes the epoch of a checkpoint at its end as over."""

    class Stops(lightning.Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = way == "should_stop" and trainer.global_step == step

    stopped, seen = volume(start_epoch=0), []
    at_the_end = lightning.callbacks.ModelCheckpoint(tmp_path, "end", save_on_train_epoch_end=True)
    callbacks = ReweightCallback(stopped), Stops(), at_the_end
    options = {"max_steps": step} if way == "max_steps" else {}
    trainer_of(tmp_path, *callbacks, saves=True, **options).fit(Model(stopped), loader(data))
    in_force = torch.ones(3) if step < STEPS else radii_weights(state_in(tmp_path, STEPS))
    assert torch.equal(stopped.in_force(), in_force)
    assert f"epoch {step // STEPS} was observed, since training stopped inside it" in capsys.readouterr().out
    for name in ("end", f"step={step}"):
        resumed = volume(start_epoch=0)
        model = Model(resumed)
        model.on_before_backward = lambda loss, resumed=resumed: seen.append(resumed.in_force())
        trainer = trainer_of(tmp_path / "on", ReweightCallback(resumed), max_epochs=3)
        trainer.fit(model, loader(data), ckpt_path=tmp_path / f"{name}.ckpt")
        assert torch.equal(seen[0], in_force)
        assert resumed.weighting.has_radii
        seen.clear()


WHOLE = {
    "items": (None, {"max_steps": 2 * STEPS}),
    "stream": (Stream(ITEMS), {"max_steps": 2 * STEPS}),
    "limited": (None, {"limit_train_batches": 3, "max_steps": 6}),
    "limited stream": (Stream(ITEMS), {"limit_train_batches": 3, "max_steps": 6}),
    "accumulated": (None, {"accumulate_grad_batches": 4, "max_steps": 4}),
    "endless": (Stream(ITEMS, endless=True), {"limit_train_batches": STEPS}),
}


@pytest.mark.parametrize(("data", "options"), WHOLE.values(), ids=WHOLE)
def test_whole_passes_are_measured_up_to_the_last_without_a_message(tmp_path, data, options, capsys):
    criterion, radii = volume(), []
    model = Model(criterion)
    model.on_before_backward = lambda loss: radii.append(criterion.weighting.log_radius64.clone())
    trainer_of(tmp_path, ReweightCallback(criterion), **options).fit(model, loader(data))
    assert criterion.weighting.epoch == 2
    assert not torch.equal(criterion.weighting.log_radius64, radii[-1])
    assert "stopped inside" not in capsys.readouterr().out


def test_the_state_of_a_compiled_criterion_is_the_one_of_a_plain_one(tmp_path):
    kinds = {"plain": lambda one: one, "compiled": lambda one: torch.compile(one, backend="eager")}
    whole = volume()
    fit(tmp_path / "whole", whole, max_epochs=3)
    for name, made in kinds.items():
        _, model = fit(tmp_path / name, made(volume()), saves=True, gradients=False)
        assert model.reported == pytest.approx(model.plain, rel=1e-5)
        path = tmp_path / name / f"step={2 * STEPS}.ckpt"
        checkpoint = torch.load(path)
        state = checkpoint["callbacks"]["ReweightCallback"]
        assert state.keys() == volume().state_dict().keys()
        for prefix in ("", "_orig_mod."):  # a compiled criterion's states once had the prefix
            checkpoint["callbacks"]["ReweightCallback"] = {prefix + key: value for key, value in state.items()}
            torch.save(checkpoint, path)
            for again in kinds.values():
                resumed = volume()
                fit(tmp_path / "on", again(resumed), ckpt=path, max_epochs=3)
                torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_a_second_fit_keeps_the_weights_also_above_epoch_255(tmp_path, capsys):
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
    trainer, _ = fit(tmp_path, whole, Stream(ITEMS, endless=True), saves=True, **options)
    assert whole.weighting.epoch == 2
    assert [progress(state_in(tmp_path, step))[0] for step in (3, 4, 7, 8, 10)] == [0, 1, 1, 2, 2]
    assert trainer.callback_metrics["train_reweight_alpha_max"] > 0
    fit(tmp_path / "on", resumed, Stream(ITEMS, endless=True), ckpt=tmp_path / "step=4.ckpt", **options)
    assert resumed.weighting.epoch == 2


# The folder


def test_an_accuracy_in_percent_is_not_taken_for_a_share():
    assert evaluation_metrics({"val_acc": 1.0, "val/many": 93, "val_loss": 2, "lr": 5}) == {
        "overall": 100,
        "many": 93,
        "loss": 2,
    }
    with pytest.raises(ValueError, match=r"val_acc as a share of 1 but got 91\.2.*val_overall"):
        evaluation_metrics({"val_acc": 91.2})


def test_a_run_s_folder_can_be_inspected_and_compared(tmp_path, capsys):
    for name in ("one", "two"):
        trainer, _ = fit(tmp_path, volume(), gradients=False, of_callback={"folder": tmp_path / name})
    assert main(["inspect", str(tmp_path / "one")]) == 0
    assert main(["compare", f"a={tmp_path / 'one'}", f"b={tmp_path / 'two'}"]) == 0
    accuracy = 100 * float(trainer.callback_metrics["val_acc"])
    assert math.isfinite(accuracy)
    assert f"{accuracy:.2f}"[:4] in capsys.readouterr().out
    with pytest.raises(ValueError, match="holds a run up to epoch 1"):
        fit(tmp_path, volume(), of_callback={"folder": tmp_path / "one"})


def test_a_loop_that_also_ends_epochs_is_refused(tmp_path):
    criterion = volume()

    class Ends(Model):
        def on_train_epoch_end(self):
            criterion.observe(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3)
            criterion.end_epoch()

    with pytest.raises(ValueError, match=r"folder=\.\.\."):
        trainer_of(tmp_path, ReweightCallback(criterion), max_epochs=3).fit(Ends(criterion), loader())
