"""Hugging Face's Trainer: steps are those of undivided batches, and a resumed run has the weights of a whole one."""

import pickle

import pytest
import torch
import torch.nn.functional as F

from vlltr_plugin import ClassVolume, InverseFrequency, LogitAdjustedLoss, ReweightedLoss

transformers = pytest.importorskip("transformers", reason="pip install 'vlltr-plugin[integrations]'")
pytest.importorskip("accelerate", reason="pip install 'vlltr-plugin[integrations]'")
from vlltr_plugin.integrations.huggingface import STATE, ReweightCallback  # noqa: E402

COUNTS = [60, 30, 12]
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
ORDER = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(1))
ROWS = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0)) * (1.0 + LABELS[:, None])
CRITERIA = {"re-weighted": ReweightedLoss, "adjusted": LogitAdjustedLoss}


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3, dtype=torch.float64)
        torch.nn.init.constant_(self.layer.weight, 0.01)
        torch.nn.init.zeros_(self.layer.bias)

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


def data(kind):
    labels = LABELS[ORDER]
    if kind == "ignored":
        labels = torch.where(torch.arange(len(labels)) % 5 < 2, -100, labels)
    if kind == "mixed":
        hard = F.one_hot(labels, 3).double()
        labels = 0.7 * hard + 0.3 * hard.flip(0)
    return [{"rows": row, "labels": label} for row, label in zip(ROWS[ORDER], labels, strict=True)]


def train(folder, criterion, epochs, kind="hard", parts=1, resume=None, callback=None, batch=24, gpus=1, **options):
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch // parts // gpus,
        gradient_accumulation_steps=parts,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=0.0,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **{"save_strategy": "epoch", **options},
    )
    assert args.device.type == "cpu"  # asked first: it counts the GPUs
    args._n_gpu = gpus
    callback = callback or ReweightCallback(criterion)
    model = Model()
    trainer = InOrder(model, args, train_dataset=data(kind), compute_loss_func=callback.loss, callbacks=[callback])
    trainer.train(resume_from_checkpoint=resume)
    return trainer, model


@pytest.mark.parametrize("kind", ["hard", "ignored", "mixed"])
@pytest.mark.parametrize("made", CRITERIA)
def test_an_accumulated_step_is_that_of_the_undivided_batch(tmp_path, made, kind, monkeypatch):
    """Also where one process has two GPUs (`DataParallel`), of which a CPU can have the Trainer's arithmetic."""
    monkeypatch.setattr(torch.nn, "DataParallel", WithoutGpus)
    options = {"ignore_index": -100} if kind == "ignored" else {}
    found = []
    for parts, gpus in ((1, 1), (4, 1), (1, 2), (4, 2)):
        criterion = CRITERIA[made](InverseFrequency(COUNTS), **options)
        found.append(train(tmp_path, criterion, 2, kind, parts, gpus=gpus, save_strategy="no")[1].layer)
    plain = torch.nn.Linear(4, 3, dtype=torch.float64)
    plain.load_state_dict(Model().layer.state_dict())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    criterion = CRITERIA[made](InverseFrequency(COUNTS), **options)
    for _ in range(2):
        for start in range(0, len(LABELS), 24):
            part = data(kind)[start : start + 24]
            rows, labels = (torch.stack([item[name] for item in part]) for name in ("rows", "labels"))
            optimizer.zero_grad()
            criterion(plain(rows.double()), labels).backward()
            optimizer.step()
    for layer in found:
        torch.testing.assert_close(layer.weight, plain.weight, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("made", CRITERIA)
def test_a_resumed_run_has_the_weights_of_one_that_never_stopped(tmp_path, made):
    whole, stopped, resumed = (CRITERIA[made](ClassVolume(COUNTS)) for _ in range(3))
    _, expected = train(tmp_path / "whole", whole, 3)
    train(tmp_path / "run", stopped, 2)
    trainer, model = train(tmp_path / "run", resumed, 3, resume=True)
    assert whole.weighting.epoch == resumed.weighting.epoch == 3
    assert not torch.equal(whole.weighting.weights, torch.ones(3))
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert torch.equal(model.layer.weight, expected.layer.weight)
    logged = [line for line in trainer.state.log_history if "train_reweight_alpha_max" in line]
    assert [line["epoch"] for line in logged] == [1, 2, 3]
    assert logged[-1]["train_reweight_alpha_max"] > 1


def test_a_folder_of_another_run_is_resumed_by_its_name(tmp_path):
    first, second = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    train(tmp_path / "first", first, 1)
    checkpoint = next((tmp_path / "first").glob("checkpoint-*"))
    callback = ReweightCallback(second, resume_from=checkpoint)
    train(tmp_path / "second", second, 1, callback=callback, resume=str(checkpoint))
    assert torch.equal(second.weighting.weights, first.weighting.weights)


def test_a_checkpoint_without_a_state_is_said(tmp_path, capsys):
    train(tmp_path, ReweightedLoss(ClassVolume(COUNTS)), 1)
    next(tmp_path.glob(f"checkpoint-*/{STATE}")).unlink()
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    train(tmp_path, criterion, 2, resume=True)
    assert "THE CLASS WEIGHTS START AT 1" in capsys.readouterr().out
    assert criterion.weighting.epoch == 2


def test_another_run_s_settings_are_refused(tmp_path):
    train(tmp_path, ReweightedLoss(ClassVolume(COUNTS)), 1)
    with pytest.raises(ValueError, match="type"):
        train(tmp_path, ReweightedLoss(InverseFrequency(COUNTS)), 2, resume=True)


def test_an_ignore_index_that_the_trainer_does_not_know_is_refused():
    with pytest.raises(ValueError, match="-100"):
        ReweightCallback(ReweightedLoss(ClassVolume(COUNTS), ignore_index=255))


def test_evaluation_is_not_observed(tmp_path):
    criterion = ReweightedLoss(ClassVolume(COUNTS))
    trainer, _ = train(tmp_path, criterion, 1, save_strategy="no")
    trainer.evaluate(data("hard"))
    assert criterion.weighting._moments is None


@pytest.mark.parametrize("anew", [True, False])
def test_a_model_made_anew_begins_with_weights_of_1_and_one_trained_on_does_not(tmp_path, anew, capsys):
    criterion, fresh = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    callback = ReweightCallback(criterion)
    trainer, _ = train(tmp_path / "first", criterion, 2, callback=callback, save_strategy="no")
    weights = criterion.weighting.weights.clone()
    assert not torch.equal(weights, torch.ones(3))
    seen = []
    trainer.compute_loss_func = lambda *args, **kwargs: seen.append(criterion.in_force()) or callback.loss(*args)
    if anew:
        trainer.model_init = lambda trial=None: Model()
    trainer.train()
    assert torch.equal(seen[0], torch.ones(3) if anew else weights)
    assert ("another model than before" in capsys.readouterr().out) == anew
    if anew:
        _, again = train(tmp_path / "fresh", fresh, 2, save_strategy="no")
        assert torch.equal(criterion.weighting.weights, fresh.weighting.weights)
        assert torch.equal(trainer.model.layer.weight, again.layer.weight)


def test_a_callback_that_has_trained_can_be_copied(tmp_path):
    callback = ReweightCallback(ReweightedLoss(ClassVolume(COUNTS)))
    train(tmp_path, callback.criterion, 1, callback=callback, save_strategy="no")
    copied = pickle.loads(pickle.dumps(callback))
    assert torch.equal(copied.criterion.weighting.weights, callback.criterion.weighting.weights)


def train_two(folder, criteria, names, epochs, resume=None):
    callbacks = [ReweightCallback(one, name=name) for one, name in zip(criteria, names, strict=True)]

    def loss(outputs, labels, num_items_in_batch=None):
        heads = [{"logits": outputs["logits"] ** power} for power in (1, 2)]
        parts = zip(callbacks, heads, strict=True)
        return sum(callback.loss(head, labels, num_items_in_batch) for callback, head in parts)

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=24,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="epoch",
    )
    trainer = InOrder(Model(), arguments, train_dataset=data("hard"), compute_loss_func=loss, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_each_of_two_criteria_is_resumed_with_its_own_state(tmp_path):
    whole, stopped, resumed = ([ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2)] for _ in range(3))
    train_two(tmp_path / "whole", whole, ["", "second"], 2)
    assert not torch.allclose(whole[0].weighting.weights, whole[1].weighting.weights, rtol=0.05)
    train_two(tmp_path / "run", stopped, ["", "second"], 2)
    trainer = train_two(tmp_path / "run", resumed, ["", "second"], 2, resume=True)
    for expected, found in zip(whole, resumed, strict=True):
        assert torch.equal(found.weighting.weights, expected.weighting.weights)
    names = set().union(*trainer.state.log_history)
    assert {"train_reweight_alpha_max", "train_reweight_second_alpha_max"} <= names


def test_two_callbacks_of_one_name_are_refused_before_training(tmp_path):
    criteria = [ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2)]
    with pytest.raises(ValueError, match="give each a name"):
        train_two(tmp_path, criteria, ["", ""], 1)
    assert criteria[0].weighting.epoch == 0
    with pytest.raises(ValueError, match="a word"):
        ReweightCallback(criteria[0], name="a/b")


def test_a_checkpoint_of_the_last_step_of_an_epoch_has_what_the_epoch_measured(tmp_path):
    whole, stopped, resumed = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(3))
    _, expected = train(tmp_path / "whole", whole, 2, save_strategy="no")
    train(tmp_path / "run", stopped, 1, save_strategy="steps", save_steps=5)  # an epoch has 5 steps
    _, model = train(tmp_path / "run", resumed, 2, resume=True)
    assert torch.equal(resumed.weighting.weights, whole.weighting.weights)
    assert torch.equal(model.layer.weight, expected.layer.weight)


@pytest.mark.parametrize("again", [True, False])
def test_a_criterion_in_a_new_callback_begins_a_new_model_with_weights_of_1(tmp_path, again):
    used, fresh = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    for fold in range(2 if again else 1):
        _, model = train(tmp_path / str(fold), used, 2, save_strategy="no")  # a callback for each fold
    _, expected = train(tmp_path / "fresh", fresh, 2, save_strategy="no")
    assert torch.equal(model.layer.weight, expected.layer.weight)
    assert torch.equal(used.weighting.weights, fresh.weighting.weights)
    assert used.weighting.epoch == 2


def test_a_batch_of_which_every_label_is_ignored_has_the_loss_0():
    callback = ReweightCallback(ReweightedLoss(InverseFrequency(COUNTS), ignore_index=-100))
    logits = torch.randn(4, 3, requires_grad=True)
    loss = callback.loss({"logits": logits}, torch.full((4,), -100), torch.tensor(0))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("saves", [True, False])
def test_each_process_that_saves_writes_the_state(tmp_path, monkeypatch, saves):
    """With `save_on_each_node` it is the first of every node, with a folder of its own."""
    monkeypatch.setattr(transformers.TrainingArguments, "should_save", property(lambda args: saves))
    args = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    state = transformers.TrainerState(global_step=5, is_world_process_zero=not saves)
    (tmp_path / "checkpoint-5").mkdir()
    callback = ReweightCallback(ReweightedLoss(ClassVolume(COUNTS)))
    callback.on_save(args, state, transformers.TrainerControl())
    assert (tmp_path / "checkpoint-5" / STATE).is_file() == saves


@pytest.mark.parametrize("step", [7, 9])
def test_the_rest_of_an_epoch_that_was_resumed_inside_changes_no_radii(tmp_path, step, capsys):
    """Five steps an epoch."""
    first, resumed = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    train(tmp_path, first, 2, save_strategy="steps", save_steps=1)
    folder, checkpoint = tmp_path / "on", tmp_path / f"checkpoint-{step}"
    radii = torch.load(checkpoint / STATE)["weighting.log_radius64"]
    assert bool(radii.any())
    callback = ReweightCallback(resumed, resume_from=checkpoint)
    train(folder, resumed, 2, resume=str(checkpoint), callback=callback)
    assert resumed.weighting.epoch == 2
    assert torch.equal(resumed.weighting.log_radius64, radii)
    assert "of epoch 1 only the rest was seen" in capsys.readouterr().out
    train(folder, resumed, 3, resume=True, callback=ReweightCallback(resumed))
    assert not torch.equal(resumed.weighting.log_radius64, radii)


def test_the_rest_of_the_first_epoch_is_measured_for_want_of_another(tmp_path):
    train(tmp_path, ReweightedLoss(ClassVolume(COUNTS)), 1, save_strategy="steps", save_steps=2)
    resumed = ReweightedLoss(ClassVolume(COUNTS))
    train(tmp_path, resumed, 1, resume=str(tmp_path / "checkpoint-2"))
    assert resumed.weighting.has_radii


def test_an_epoch_that_begins_anew_after_a_stop_inside_it_is_measured(tmp_path):
    first, resumed = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    train(tmp_path, first, 2, save_strategy="steps", save_steps=1)
    checkpoint = tmp_path / "checkpoint-7"
    callback = ReweightCallback(resumed, resume_from=checkpoint)
    train(tmp_path / "on", resumed, 2, resume=str(checkpoint), callback=callback, ignore_data_skip=True)
    assert not torch.equal(resumed.weighting.log_radius64, torch.load(checkpoint / STATE)["weighting.log_radius64"])


def test_what_was_observed_before_training_is_dropped(tmp_path):
    used, new = (ReweightedLoss(ClassVolume(COUNTS)) for _ in range(2))
    used(9 * torch.randn(20, len(COUNTS), requires_grad=True), torch.arange(20) % len(COUNTS))
    train(tmp_path / "used", used, 1)
    train(tmp_path / "new", new, 1)
    assert torch.equal(used.weighting.log_radius64, new.weighting.log_radius64)
