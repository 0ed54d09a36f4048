"""Hugging Face's Trainer: steps are those of undivided batches; a resumed run equals an uninterrupted one."""

import contextlib
import pickle

import pytest
import torch
import torch.nn.functional as F
from integrations.three_classes import (
    COUNTS,
    LABELS,
    LOSSES,
    ORDER,
    ROWS,
    Stream,
    linear_model,
    progress,
    volume,
)

from vlltr_plugin import ClassVolume, InverseFrequency, ReweightedLoss, RunRecorder
from vlltr_plugin.cli import main

transformers = pytest.importorskip("transformers", reason="pip install 'vlltr-plugin[integrations]'")
pytest.importorskip("accelerate", reason="pip install 'vlltr-plugin[integrations]'")
from vlltr_plugin.integrations.huggingface import STATE, ReweightCallback  # noqa: E402

STEPS = 5  # a pass, in batches of 24


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = linear_model(dtype=torch.float64)

    def forward(self, rows, labels=None):
        return {"logits": self.layer(rows.double())}


class WithoutGpus(torch.nn.Module):
    """In the place of `DataParallel`."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


class InOrder(transformers.Trainer):
    def _get_train_sampler(self, *args):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def items(kind="hard"):
    labels = LABELS[ORDER]
    if kind == "ignored":
        labels = torch.where(torch.arange(len(labels)) % 5 < 2, -100, labels)
    if kind == "mixed":
        hard = F.one_hot(labels, 3).double()
        labels = 0.7 * hard + 0.3 * hard.flip(0)
    return [{"rows": row, "labels": label} for row, label in zip(ROWS[ORDER], labels, strict=True)]


def trainer_of(folder, *callbacks, data=None, kind=InOrder, gpus=1, before=None, **options):
    """`before` is called before the loss of each part of a step."""
    arguments = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 24,
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        **options,
    }
    args = transformers.TrainingArguments(**arguments)
    assert args.device.type == "cpu"  # asked first: it counts the GPUs
    args._n_gpu = gpus

    def loss(*of_step, **named):
        if before is not None:
            before()
        return callbacks[0].loss(*of_step, **named)

    of_data = {"train_dataset": data or items(), "eval_dataset": items()}
    return kind(Model(), args, **of_data, compute_loss_func=loss, callbacks=list(callbacks))


def train(folder, criterion, epochs=2, resume=None, **options):
    of_callback = {name: options.pop(name) for name in ("resume_from", "steps_per_epoch") if name in options}
    callback = options.pop("callback", None) or ReweightCallback(criterion, **of_callback)
    trainer = trainer_of(folder, callback, num_train_epochs=epochs, **options)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def state_in(folder, step):
    return torch.load(folder / f"checkpoint-{step}" / STATE)


def radii_in(folder, step):
    return state_in(folder, step)["weighting.log_radius64"]


# Steps


@pytest.mark.parametrize("kind", ["hard", "ignored", "mixed"])
@pytest.mark.parametrize("made", LOSSES)
def test_an_accumulated_step_is_that_of_the_undivided_batch(tmp_path, made, kind, monkeypatch):
    """Also where one process has two GPUs (`DataParallel`), of which a CPU can have the Trainer's arithmetic."""
    monkeypatch.setattr(torch.nn, "DataParallel", WithoutGpus)
    options = {"ignore_index": -100} if kind == "ignored" else {}
    found = []
    for parts, gpus in ((1, 1), (4, 1), (1, 2), (4, 2)):
        criterion = made(InverseFrequency(COUNTS), **options)
        divided = {"per_device_train_batch_size": 24 // parts // gpus, "gradient_accumulation_steps": parts}
        found.append(train(tmp_path, criterion, data=items(kind), gpus=gpus, **divided).model.layer)
    plain = Model().layer
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    criterion = made(InverseFrequency(COUNTS), **options)
    rows, labels = (torch.stack([item[name] for item in items(kind)]) for name in ("rows", "labels"))
    for rows_of_step, labels_of_step in [*zip(rows.double().split(24), labels.split(24), strict=True)] * 2:
        optimizer.zero_grad()
        criterion(plain(rows_of_step), labels_of_step).backward()
        optimizer.step()
    for layer in found:
        torch.testing.assert_close(layer.weight, plain.weight, rtol=1e-6, atol=1e-9)


def test_a_batch_of_which_every_label_is_ignored_has_the_loss_0():
    callback = ReweightCallback(ReweightedLoss(InverseFrequency(COUNTS), ignore_index=-100))
    logits = torch.randn(4, 3, requires_grad=True)
    loss = callback.loss({"logits": logits}, torch.full((4,), -100), torch.tensor(0))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize(
    ("options", "name", "said"),
    [({"ignore_index": 255}, "", "-100"), ({"reduction": "sum"}, "", "reduction='mean'"), ({}, "a/b", "a word")],
)
def test_criteria_and_names_that_do_not_fit_are_refused(options, name, said):
    with pytest.raises(ValueError, match=said):
        ReweightCallback(ReweightedLoss(ClassVolume(COUNTS), **options), name=name)


@pytest.mark.parametrize(("smoothing", "fits"), [(0.0, False), (0.1, True)])
def test_label_smoothing_of_the_arguments_is_refused_where_the_criterion_has_another(tmp_path, smoothing, fits):
    callback = ReweightCallback(ReweightedLoss(InverseFrequency(COUNTS), smoothing=smoothing))
    arguments = transformers.TrainingArguments(str(tmp_path), label_smoothing_factor=0.1, use_cpu=True, report_to=[])
    begin = (arguments, transformers.TrainerState(), transformers.TrainerControl())
    refused = pytest.raises(ValueError, match=r"give the criterion smoothing=0\.1")
    with contextlib.nullcontext() if fits else refused:
        callback.on_train_begin(*begin)


# Evaluations


def test_an_evaluation_between_the_parts_of_a_step_reports_the_plain_loss(tmp_path):
    """A callback that evaluates in `on_substep_end`, where the step has not ended."""

    class Evaluates(transformers.TrainerCallback):
        def on_substep_end(self, *args, **kwargs):
            plain.append(F.cross_entropy(trainer.model(ROWS)["logits"], LABELS).item())
            found.append(trainer.evaluate()["eval_loss"])

    plain, found = [], []
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 12, "gradient_accumulation_steps": 2}
    trainer = trainer_of(tmp_path, ReweightCallback(volume()), Evaluates(), **options)
    trainer.train()
    assert len(found) > STEPS
    assert found == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("made", LOSSES)
@pytest.mark.parametrize("gradients", [False, True])
def test_the_loss_of_an_evaluation_is_the_plain_one_and_is_not_observed(tmp_path, made, gradients):
    class WithGradients(InOrder):
        def prediction_step(self, model, inputs, *args, **kwargs):
            with torch.enable_grad():
                loss = self.compute_loss(model, self._prepare_inputs(inputs))
            return loss.detach(), None, None

    found = []
    for options in ({}, {"eval_strategy": "steps", "eval_steps": 2}):
        criterion = volume(made)
        trainer = train(tmp_path, criterion, 3, kind=WithGradients if gradients else InOrder, **options)
        found.append(criterion.weighting.weights.clone())
    assert torch.equal(*found)
    assert not torch.equal(found[0], torch.ones(3))
    with torch.no_grad():
        plain = F.cross_entropy(trainer.model(ROWS)["logits"], LABELS)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(plain), rel=1e-5)
    assert criterion.training


# Resumed runs


@pytest.mark.parametrize("saves", [{"save_strategy": "epoch"}, {"save_strategy": "steps", "save_steps": STEPS}])
@pytest.mark.parametrize("made", LOSSES)
def test_a_resumed_run_has_the_weights_of_an_uninterrupted_run(tmp_path, made, saves):
    """A checkpoint of the last step of an epoch has what the epoch measured."""
    whole, resumed = volume(made), volume(made)
    expected = train(tmp_path / "whole", whole, 3)
    train(tmp_path / "run", volume(made), 2, **saves)
    trainer = train(tmp_path / "run", resumed, 3, resume=True, **saves)
    assert whole.weighting.epoch == resumed.weighting.epoch == 3
    assert not torch.equal(whole.weighting.weights, torch.ones(3))
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert torch.equal(trainer.model.layer.weight, expected.model.layer.weight)
    logged = [line for line in trainer.state.log_history if "train_reweight_alpha_max" in line]
    assert [line["epoch"] for line in logged] == [1, 2, 3]
    assert logged[-1]["train_reweight_alpha_max"] > 1


def test_a_compiled_criterion_is_called_as_such_and_its_state_is_the_one_of_a_plain_one(tmp_path):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    kinds = {"plain": lambda one: one, "compiled": lambda one: torch.compile(one, backend=backend)}
    whole = volume()
    train(tmp_path / "whole", whole, 3)
    for name, made in kinds.items():
        trainer = train(tmp_path / name, made(volume()), save_strategy="epoch")
        assert bool(graphs) == (name == "compiled")
        plain = F.cross_entropy(trainer.model(ROWS)["logits"], LABELS).item()
        assert trainer.evaluate()["eval_loss"] == pytest.approx(plain, rel=1e-5)
        path = tmp_path / name / f"checkpoint-{2 * STEPS}" / STATE
        state = torch.load(path)
        assert state.keys() == volume().state_dict().keys()
        for prefix in ("", "_orig_mod."):  # a compiled criterion's states once had the prefix
            torch.save({prefix + key: value for key, value in state.items()}, path)
            for again in kinds.values():
                resumed = volume()
                train(tmp_path / "on", again(resumed), 3, resume=str(path.parent))
                torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("named", [True, False])
def test_the_state_comes_from_the_checkpoint_that_is_resumed(tmp_path, named):
    """Also where the folder of this run holds one of the same number."""
    options = {"epochs": 1, "save_strategy": "epoch"}
    first, second, resumed = volume(), volume(), volume()
    train(tmp_path / "a", first, **options)
    train(tmp_path / "b", second, **options, learning_rate=0.5)
    assert not torch.equal(first.weighting.weights, second.weighting.weights)
    checkpoint = tmp_path / "a" / f"checkpoint-{STEPS}"
    options |= {"resume_from": checkpoint} if named else {}
    train(tmp_path / "b", resumed, resume=str(checkpoint), **options)
    assert torch.equal(resumed.weighting.weights, first.weighting.weights)


def test_a_checkpoint_without_a_state_gives_a_message_and_one_of_other_settings_an_error(tmp_path, capsys):
    train(tmp_path, volume(), 1, save_strategy="epoch")
    with pytest.raises(ValueError, match="type"):
        train(tmp_path, ReweightedLoss(InverseFrequency(COUNTS)), 2, resume=True)
    next(tmp_path.glob(f"checkpoint-*/{STATE}")).unlink()
    criterion = volume()
    train(tmp_path, criterion, 2, resume=True)
    assert "THE CLASS WEIGHTS START AT 1" in capsys.readouterr().out
    assert criterion.weighting.epoch == 2


@pytest.mark.parametrize("saves", [True, False])
def test_each_process_that_saves_writes_the_state(tmp_path, monkeypatch, saves):
    """With `save_on_each_node` it is the first of every node, with a folder of its own."""
    monkeypatch.setattr(transformers.TrainingArguments, "should_save", property(lambda args: saves))
    args = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    state = transformers.TrainerState(global_step=5, is_world_process_zero=not saves)
    (tmp_path / "checkpoint-5").mkdir()
    ReweightCallback(volume()).on_save(args, state, transformers.TrainerControl())
    assert (tmp_path / "checkpoint-5" / STATE).is_file() == saves


def test_a_callback_that_has_trained_can_be_copied(tmp_path):
    callback = ReweightCallback(volume())
    train(tmp_path, None, 1, callback=callback)
    copied = pickle.loads(pickle.dumps(callback))
    assert torch.equal(copied.criterion.weighting.weights, callback.criterion.weighting.weights)


@pytest.mark.parametrize(("anew", "kept"), [(True, True), (True, False), (False, True)])
def test_a_new_model_starts_with_weights_of_1_and_a_model_trained_further_does_not(tmp_path, anew, kept, capsys):
    """Whether or not something keeps the model of before."""
    criterion, fresh, seen = volume(), volume(), []
    callback = ReweightCallback(criterion)
    trainer = train(tmp_path / "first", None, callback=callback, before=lambda: seen.append(criterion.in_force()))
    kept = trainer.model if kept else None
    weights = criterion.weighting.weights.clone()
    assert not torch.equal(weights, torch.ones(3))
    seen.clear()
    if anew:
        trainer.model_init = lambda trial=None: Model()
    trainer.train()
    assert torch.equal(seen[0], torch.ones(3) if anew else weights)
    assert ("another model than before" in capsys.readouterr().out) == anew
    if anew:
        again = train(tmp_path / "fresh", fresh)
        assert torch.equal(criterion.weighting.weights, fresh.weighting.weights)
        assert torch.equal(trainer.model.layer.weight, again.model.layer.weight)


def test_a_criterion_in_a_new_callback_begins_a_new_model_with_weights_of_1(tmp_path):
    used, fresh = volume(), volume()
    used(9 * torch.randn(20, 3, requires_grad=True), torch.arange(20) % 3)  # before training: dropped
    for fold in range(2):
        trainer = train(tmp_path / str(fold), used)  # a callback for each fold
    expected = train(tmp_path / "fresh", fresh)
    assert torch.equal(trainer.model.layer.weight, expected.model.layer.weight)
    assert torch.equal(used.weighting.weights, fresh.weighting.weights)
    assert used.weighting.epoch == 2


@pytest.mark.parametrize("step", [2, 7])
def test_a_restarted_training_drops_statistics_of_the_failed_one(tmp_path, step):
    """As `auto_find_batch_size` does when memory is short: the same model, callback and criterion."""
    used, seen = volume(), []

    def before():
        seen.append(used.in_force())
        if len(seen) == step:
            raise RuntimeError("out of memory")

    trainer = trainer_of(tmp_path, ReweightCallback(used), num_train_epochs=2, before=before)
    with pytest.raises(RuntimeError, match="memory"):
        trainer.train()
    seen.clear()
    step = None
    trainer.train()
    assert torch.equal(seen[0], torch.ones(3))
    assert used.weighting.epoch == 2
    assert used.drawn.tolist() == COUNTS


# Two criteria


def train_two(folder, criteria, names, resume=None):
    callbacks = [ReweightCallback(one, name=name) for one, name in zip(criteria, names, strict=True)]
    trainer = trainer_of(folder, *callbacks, num_train_epochs=2, save_strategy="epoch")

    def loss(outputs, labels, num_items_in_batch=None):
        heads = [{"logits": outputs["logits"] ** power} for power in (1, 2)]
        parts = zip(callbacks, heads, strict=True)
        return sum(callback.loss(head, labels, num_items_in_batch) for callback, head in parts)

    trainer.compute_loss_func = loss
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_each_of_two_criteria_is_resumed_with_its_own_state(tmp_path):
    whole, resumed = ([volume(), volume()] for _ in range(2))
    train_two(tmp_path, whole, ["", "second"])
    assert not torch.allclose(whole[0].weighting.weights, whole[1].weighting.weights, rtol=0.05)
    trainer = train_two(tmp_path, resumed, ["", "second"], resume=True)
    for expected, found in zip(whole, resumed, strict=True):
        assert torch.equal(found.weighting.weights, expected.weighting.weights)
    names = set().union(*trainer.state.log_history)
    assert {"train_reweight_alpha_max", "train_reweight_second_alpha_max"} <= names


def test_two_callbacks_of_one_name_are_refused_before_training(tmp_path):
    criteria = [volume(), volume()]
    with pytest.raises(ValueError, match="give each a name"):
        train_two(tmp_path, criteria, ["", ""])
    assert criteria[0].weighting.epoch == 0


# Epochs


@pytest.mark.parametrize("step", [7, 9])
def test_the_rest_of_an_epoch_resumed_inside_leaves_the_radii(tmp_path, step, capsys):
    train(tmp_path, volume(), save_strategy="steps", save_steps=1)
    checkpoint = tmp_path / f"checkpoint-{step}"
    resumed, radii = volume(), radii_in(tmp_path, step)
    assert bool(radii.any())
    train(tmp_path / "on", resumed, resume=str(checkpoint), resume_from=checkpoint, save_strategy="epoch")
    assert resumed.weighting.epoch == 2
    assert torch.equal(resumed.weighting.log_radius64, radii)
    assert "only the rest of epoch 1 was observed" in capsys.readouterr().out
    train(tmp_path / "on", resumed, 3, resume=True)
    assert not torch.equal(resumed.weighting.log_radius64, radii)
    train(tmp_path / "anew", resumed, 3, resume=str(checkpoint), ignore_data_skip=True)  # the epoch begins anew
    assert not torch.equal(resumed.weighting.log_radius64, radii)


def test_the_rest_of_the_first_epoch_is_measured_as_there_are_no_radii(tmp_path):
    train(tmp_path, volume(), 1, save_strategy="steps", save_steps=2)
    resumed = volume()
    train(tmp_path, resumed, 1, resume=str(tmp_path / "checkpoint-2"))
    assert resumed.weighting.has_radii


@pytest.mark.parametrize("saves", [{"save_strategy": "epoch"}, {"save_strategy": "steps", "save_steps": 1}])
@pytest.mark.parametrize("data", [None, Stream(items())], ids=["items", "stream"])
@pytest.mark.parametrize("step", [2, 7])
def test_a_run_that_stopped_inside_an_epoch_resumes_with_the_weights_in_force(tmp_path, step, data, saves, capsys):
    """Never with those of the part that was observed, in the first epoch either; whenever the checkpoint was saved."""
    stopped, resumed, seen = volume(start_epoch=0), volume(start_epoch=0), []

    def run(criterion, **options):
        train(tmp_path, criterion, data=data, before=lambda: seen.append(criterion.in_force()), **options)

    run(stopped, max_steps=step, **saves)
    in_force = seen[-1]
    assert torch.equal(in_force, torch.ones(3)) == (step < STEPS)
    assert torch.equal(stopped.in_force(), in_force)
    epoch, radii = step // STEPS, "the radii stay" if step > STEPS else "there are no radii"
    assert f"epoch {epoch} was observed, since training stopped inside it: {radii}" in capsys.readouterr().out
    seen.clear()
    run(resumed, resume=str(tmp_path / f"checkpoint-{step}"), max_steps=2 * STEPS)
    assert torch.equal(seen[0], in_force)
    assert resumed.weighting.has_radii


WHOLE = {
    "items": {"max_steps": 2 * STEPS},
    "stream": {"max_steps": 2 * STEPS, "data": Stream(items())},
    "accumulated": {"max_steps": 6, "gradient_accumulation_steps": 2},
    "accumulated stream": {"max_steps": 6, "data": Stream(items()), "per_device_train_batch_size": 17}
    | {"gradient_accumulation_steps": 2},
    "drop_last": {"dataloader_drop_last": True},
}


@pytest.mark.parametrize("options", WHOLE.values(), ids=WHOLE)
def test_whole_passes_are_measured_up_to_the_last_without_a_message(tmp_path, options, capsys):
    criterion, radii = volume(), []
    train(tmp_path, criterion, before=lambda: radii.append(criterion.weighting.log_radius64.clone()), **options)
    assert criterion.weighting.epoch == 2
    assert not torch.equal(criterion.weighting.log_radius64, radii[-1])
    assert "stopped inside" not in capsys.readouterr().out


def test_epochs_that_a_callback_makes_shorter_are_measured(tmp_path, capsys):
    class Shortens(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_epoch_stop = True

    criterion, radii = volume(), []
    before = lambda: radii.append(criterion.weighting.log_radius64.clone())  # noqa: E731
    trainer_of(tmp_path, ReweightCallback(criterion), Shortens(), num_train_epochs=3, before=before).train()
    assert len(radii) == 3
    assert not torch.equal(radii[1], radii[2])
    assert "stopped inside" not in capsys.readouterr().out


def test_data_without_a_length_have_the_epochs_of_data_with_one(tmp_path):
    known, unknown, stopped = volume(), volume(), volume()
    train(tmp_path / "known", known, max_steps=14)
    train(tmp_path, unknown, data=Stream(items()), max_steps=14, save_strategy="steps", save_steps=1)
    assert known.weighting.epoch == unknown.weighting.epoch == 3
    torch.testing.assert_close(unknown.weighting.weights, known.weighting.weights)
    assert [progress(state_in(tmp_path, step)) for step in (4, 5, 9, 10)] == [[0, 0], [1, 1], [1, 1], [2, 1]]
    train(tmp_path / "stopped", stopped, data=Stream(items()), max_steps=STEPS)
    assert stopped.weighting.epoch == 1


@pytest.mark.parametrize("step", [3, 5, 7, 10])
def test_a_run_on_data_without_a_length_resumes_at_the_right_epoch(tmp_path, step):
    """The Trainer passes over the data anew, after steps of the first pass only."""
    train(tmp_path, volume(), data=Stream(items()), max_steps=14, save_strategy="steps", save_steps=1)
    resumed, seen = volume(), []
    options = {"data": Stream(items()), "max_steps": 14, "resume": str(tmp_path / f"checkpoint-{step}")}
    train(tmp_path / "on", resumed, before=lambda: seen.append(resumed.weighting.log_radius64.clone()), **options)
    assert resumed.weighting.epoch == 3
    assert torch.equal(seen[0], radii_in(tmp_path, step))
    changed = [i for i in range(1, len(seen)) if not torch.equal(seen[i - 1], seen[i])]
    assert changed[:1] == {3: [2], 5: [STEPS], 7: [STEPS], 10: []}[step]


@pytest.mark.parametrize("data", [None, Stream(items(), endless=True)], ids=["items", "endless"])
def test_steps_per_epoch_ends_epochs_by_steps_also_after_a_resume(tmp_path, data):
    options = {"data": data, "max_steps": 11, "steps_per_epoch": 3}
    whole = volume()
    train(tmp_path, whole, save_strategy="steps", save_steps=1, **options)
    assert whole.weighting.epoch == 3
    assert [progress(state_in(tmp_path, step))[0] for step in (2, 3, 5, 6, 9, 11)] == [0, 1, 1, 2, 3, 3]
    for step in (3, 4):
        resumed = volume()
        train(tmp_path / "on", resumed, resume=str(tmp_path / f"checkpoint-{step}"), **options)
        assert resumed.weighting.epoch == 3
        if step % 3 == 0:
            assert torch.equal(resumed.weighting.weights, whole.weighting.weights)
        # Of the whole epoch after the rest of one.
        assert not torch.equal(resumed.weighting.log_radius64, radii_in(tmp_path, step))


# The folder


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


def test_a_run_s_folder_can_be_inspected_compared_and_resumed(tmp_path, capsys):
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


def test_a_loop_that_also_ends_epochs_is_refused(tmp_path):
    criterion = volume()
    recorder = RunRecorder(tmp_path / "run", criterion)

    class Records(transformers.TrainerCallback):
        def on_epoch_end(self, args, state, control, **kwargs):
            criterion.observe(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3)
            recorder.end_epoch()

    trainer = trainer_of(tmp_path, ReweightCallback(criterion), Records(), num_train_epochs=3)
    with pytest.raises(ValueError, match=r"folder=\.\.\."):
        trainer.train()
