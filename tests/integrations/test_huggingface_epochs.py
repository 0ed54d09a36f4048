"""Hugging Face's Trainer: what is an epoch, what is training, and which state a run goes on from."""

import pytest
import torch
import torch.nn.functional as F

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss, RunRecorder

transformers = pytest.importorskip("transformers", reason="pip install 'vlltr-plugin[integrations]'")
pytest.importorskip("accelerate", reason="pip install 'vlltr-plugin[integrations]'")
from vlltr_plugin.cli import main  # noqa: E402
from vlltr_plugin.integrations.huggingface import STATE, ReweightCallback  # noqa: E402

COUNTS = [60, 30, 12]
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
ORDER = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(1))
ROWS = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0)) * (1.0 + LABELS[:, None])
ITEMS = [{"rows": ROWS[i], "labels": LABELS[i]} for i in ORDER.tolist()]
STEPS = 5  # a pass, in batches of 24


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        torch.nn.init.constant_(self.layer.weight, 0.01)
        torch.nn.init.zeros_(self.layer.bias)

    def forward(self, rows, labels=None):
        return {"logits": self.layer(rows)}


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, endless=False):
        self.endless = endless

    def __iter__(self):
        yield from ITEMS
        while self.endless:
            yield from ITEMS


class InOrder(transformers.Trainer):
    def _get_train_sampler(self, *args):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def trainer_of(folder, callback, data=ITEMS, kind=InOrder, callbacks=(), **options):
    arguments = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 24,
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        **options,
    }
    return kind(
        Model(),
        transformers.TrainingArguments(**arguments),
        train_dataset=data,
        eval_dataset=ITEMS,
        compute_loss_func=callback.loss,
        callbacks=[callback, *callbacks],
    )


def volume(made=ReweightedLoss):
    return made(ClassVolume(COUNTS))


def progress(folder):
    """Epoch in progress and whether there are radii, of a saved state."""
    weighting = volume().weighting
    weighting.load_state_dict(
        {name.removeprefix("weighting."): value for name, value in torch.load(folder / STATE).items()}
    )
    return [weighting.epoch, weighting.has_radii]


# Evaluations


def test_an_evaluation_between_the_parts_of_a_step_reports_the_plain_loss(tmp_path):
    """A callback that evaluates in `on_substep_end`, where the step has not ended."""

    class Evaluates(transformers.TrainerCallback):
        def on_substep_end(self, *args, **kwargs):
            rows, labels = (torch.stack([item[name] for item in ITEMS]) for name in ("rows", "labels"))
            plain.append(F.cross_entropy(trainer.model.layer(rows), labels).item())
            found.append(trainer.evaluate()["eval_loss"])

    plain, found = [], []
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 12, "gradient_accumulation_steps": 2}
    trainer = trainer_of(tmp_path, ReweightCallback(volume()), callbacks=[Evaluates()], **options)
    trainer.train()
    assert len(found) > STEPS
    assert found == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("made", [ReweightedLoss, LogitAdjustedLoss])
@pytest.mark.parametrize("gradients", [False, True])
def test_the_loss_of_an_evaluation_is_the_plain_one_and_is_not_observed(tmp_path, made, gradients):
    class WithGradients(InOrder):
        def prediction_step(self, model, inputs, *args, **kwargs):
            with torch.enable_grad():
                loss = self.compute_loss(model, self._prepare_inputs(inputs))
            return loss.detach(), None, None

    found = []
    for evaluates in (False, True):
        criterion = volume(made)
        options = {"eval_strategy": "steps", "eval_steps": 2} if evaluates else {}
        trainer = trainer_of(
            tmp_path, ReweightCallback(criterion), kind=WithGradients if gradients else InOrder, **options
        )
        trainer.train()
        found.append(criterion.weighting.weights.clone())
    assert torch.equal(*found)
    assert not torch.equal(found[0], torch.ones(3))
    with torch.no_grad():
        plain = F.cross_entropy(trainer.model(ROWS)["logits"], LABELS)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(plain), rel=1e-5)
    assert criterion.training


def test_the_best_epoch_is_that_of_the_plain_loss(tmp_path):
    trainer = trainer_of(
        tmp_path,
        ReweightCallback(ReweightedLoss(ClassVolume(COUNTS, start_epoch=3))),
        callbacks=[transformers.EarlyStoppingCallback(early_stopping_patience=3)],
        num_train_epochs=6,
        learning_rate=0.02,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
    )
    plain = {}

    class Plain(transformers.TrainerCallback):
        def on_evaluate(self, args, state, control, **kwargs):
            with torch.no_grad():
                plain[state.global_step] = float(F.cross_entropy(trainer.model(ROWS)["logits"], LABELS))

    trainer.add_callback(Plain())
    trainer.train()
    reported = {line["step"]: line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line}
    assert reported == pytest.approx(plain, rel=1e-4)
    assert trainer.state.best_global_step == min(plain, key=plain.get)
    assert trainer.state.best_global_step > STEPS


def test_label_smoothing_of_the_arguments_is_refused_where_the_criterion_has_another(tmp_path):
    for smoothing, fits in ((0.0, False), (0.1, True)):
        callback = ReweightCallback(ReweightedLoss(InverseFrequency(COUNTS), smoothing=smoothing))
        arguments = transformers.TrainingArguments(
            str(tmp_path), label_smoothing_factor=0.1, use_cpu=True, report_to=[]
        )
        begin = (arguments, transformers.TrainerState(), transformers.TrainerControl())
        if fits:
            callback.on_train_begin(*begin)
        else:
            with pytest.raises(ValueError, match=r"give the criterion smoothing=0\.1"):
                callback.on_train_begin(*begin)


# Epochs


def test_data_without_a_length_have_the_epochs_of_data_with_one(tmp_path):
    known, unknown = volume(), volume()
    trainer_of(tmp_path / "known", ReweightCallback(known), max_steps=14).train()
    options = {"max_steps": 14, "save_strategy": "steps", "save_steps": 1}
    trainer_of(tmp_path / "unknown", ReweightCallback(unknown), Stream(), **options).train()
    assert known.weighting.epoch == unknown.weighting.epoch == 3
    torch.testing.assert_close(unknown.weighting.weights, known.weighting.weights)
    found = [progress(tmp_path / "unknown" / f"checkpoint-{step}") for step in (4, 5, 9, 10)]
    assert found == [[0, 0], [1, 1], [1, 1], [2, 1]]


def test_the_last_step_of_a_pass_ends_it_although_training_stops_there(tmp_path):
    criterion = volume()
    options = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": STEPS}
    trainer_of(tmp_path, ReweightCallback(criterion), Stream(), **options).train()
    assert progress(tmp_path / f"checkpoint-{STEPS}") == [1, 1]
    assert criterion.weighting.epoch == 1


@pytest.mark.parametrize("step", [3, 5, 7, 10])
def test_a_run_on_data_without_a_length_goes_on_with_the_right_epoch(tmp_path, step):
    """The Trainer passes over the data anew, after steps of the first pass only."""
    options = {"max_steps": 14, "save_strategy": "steps", "save_steps": 1}
    trainer_of(tmp_path, ReweightCallback(volume()), Stream(), **options).train()
    before = torch.load(tmp_path / f"checkpoint-{step}" / STATE)["weighting.log_radius64"]
    resumed, seen = volume(), []
    callback = ReweightCallback(resumed)
    trainer = trainer_of(tmp_path / "on", callback, Stream(), max_steps=14)
    trainer.compute_loss_func = lambda *args, **kwargs: (
        seen.append(resumed.weighting.log_radius64.clone()) or (callback.loss(*args, **kwargs))
    )
    trainer.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert resumed.weighting.epoch == 3
    assert torch.equal(seen[0], before)
    changed = [i for i in range(1, len(seen)) if not torch.equal(seen[i - 1], seen[i])]
    assert changed[:1] == {3: [2], 5: [STEPS], 7: [STEPS], 10: []}[step]


@pytest.mark.parametrize("data", [ITEMS, Stream(endless=True)], ids=["items", "endless"])
def test_steps_per_epoch_ends_epochs_by_steps_also_after_a_resume(tmp_path, data):
    options = {"max_steps": 11, "save_strategy": "steps", "save_steps": 1}
    whole = volume()
    trainer_of(tmp_path, ReweightCallback(whole, steps_per_epoch=3), data, **options).train()
    assert whole.weighting.epoch == 3
    assert [progress(tmp_path / f"checkpoint-{step}")[0] for step in (2, 3, 5, 6, 9, 11)] == [0, 1, 1, 2, 3, 3]
    for step in (3, 4):
        resumed, before = volume(), torch.load(tmp_path / f"checkpoint-{step}" / STATE)["weighting.log_radius64"]
        callback = ReweightCallback(resumed, steps_per_epoch=3)
        trainer = trainer_of(tmp_path / "on", callback, data, max_steps=11)
        trainer.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert resumed.weighting.epoch == 3
        if step % 3 == 0:
            assert torch.equal(resumed.weighting.weights, whole.weighting.weights)
        assert not torch.equal(resumed.weighting.log_radius64, before)  # of the whole epoch after the rest of one


def test_the_epoch_after_a_resume_inside_one_is_measured(tmp_path):
    options = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1}
    trainer_of(tmp_path, ReweightCallback(volume()), **options).train()
    radii = torch.load(tmp_path / "checkpoint-7" / STATE)["weighting.log_radius64"]
    resumed = volume()
    trainer = trainer_of(tmp_path / "on", ReweightCallback(resumed), num_train_epochs=3)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    assert not torch.equal(resumed.weighting.log_radius64, radii)


@pytest.mark.parametrize("step", [2, 7])
def test_a_start_that_broke_off_is_no_part_of_the_one_begun_anew(tmp_path, step):
    """As `auto_find_batch_size` does when memory is short: the same model, callback and criterion."""
    used = volume()
    callback, seen = ReweightCallback(used), []
    trainer = trainer_of(tmp_path, callback, num_train_epochs=2)

    def loss(*args, **kwargs):
        seen.append(used.in_force())
        if len(seen) == step:
            raise RuntimeError("out of memory")
        return callback.loss(*args, **kwargs)

    trainer.compute_loss_func = loss
    with pytest.raises(RuntimeError, match="memory"):
        trainer.train()
    seen.clear()
    step = 0
    trainer.train()
    assert torch.equal(seen[0], torch.ones(3))
    assert used.weighting.epoch == 2
    assert used.drawn.tolist() == COUNTS


# The folder


def test_another_run_s_checkpoint_gives_its_own_state(tmp_path):
    """Also where the folder of this run holds one of the same number."""
    options = {"num_train_epochs": 1, "save_strategy": "epoch"}
    first, second, resumed = volume(), volume(), volume()
    trainer_of(tmp_path / "a", ReweightCallback(first), **options).train()
    trainer_of(tmp_path / "b", ReweightCallback(second), **options, learning_rate=0.5).train()
    assert not torch.equal(first.weighting.weights, second.weighting.weights)
    trainer = trainer_of(tmp_path / "b", ReweightCallback(resumed), **options)
    trainer.train(resume_from_checkpoint=tmp_path / "a" / f"checkpoint-{STEPS}")
    assert torch.equal(resumed.weighting.weights, first.weighting.weights)


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


def test_a_run_s_folder_can_be_inspected_compared_and_gone_on_with(tmp_path, capsys):
    def run(name, epochs, resume=None):
        callback = ReweightCallback(volume(), folder=tmp_path / name)
        options = {"num_train_epochs": epochs, "eval_strategy": "epoch", "save_strategy": "epoch"}
        trainer = trainer_of(tmp_path / f"{name} checkpoints", callback, **options)
        trainer.compute_metrics = accuracy
        trainer.train(resume_from_checkpoint=resume)
        return callback.criterion, trainer

    run("one", 2)
    expected, trainer = run("two", 3)
    found, _ = run("one", 3, resume=True)
    assert torch.equal(found.weighting.weights, expected.weighting.weights)
    assert main(["inspect", str(tmp_path / "one")]) == 0
    assert main(["compare", f"a={tmp_path / 'one'}", f"b={tmp_path / 'two'}"]) == 0
    last = [line["eval_accuracy"] for line in trainer.state.log_history if "eval_accuracy" in line][-1]
    assert f"{100 * last:.2f}"[:4] in capsys.readouterr().out
    with pytest.raises(ValueError, match="holds a run up to epoch 2"):
        run("one", 1)
    assert "resumed" not in capsys.readouterr().out


def test_a_second_end_of_the_epochs_is_told(tmp_path):
    criterion = volume()
    recorder = RunRecorder(tmp_path / "run", criterion)

    class Records(transformers.TrainerCallback):
        def on_epoch_end(self, args, state, control, **kwargs):
            observed = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
            criterion.observe(observed, torch.arange(6) % 3)
            recorder.end_epoch()

    trainer = trainer_of(tmp_path, ReweightCallback(criterion), callbacks=[Records()], num_train_epochs=3)
    with pytest.raises(ValueError, match=r"folder=\.\.\."):
        trainer.train()
