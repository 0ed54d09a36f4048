"""What fixed runs give their users, as text: `python tests/golden/make.py` renews `tests/golden/outputs`.

Every output is a text: what a command printed, a file that it wrote, or arrays, one a line. Folders, times, versions
and the random names of runs are masked. `test_golden.py` makes the outputs again and compares them with the stored.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    InverseFrequency,
    InverseSqrtFrequency,
    LogitAdjustedLoss,
    ReweightedLoss,
    RunRecorder,
    Uniform,
    Weighting,
)
from vlltr_plugin.cli import main as command_line
from vlltr_plugin.demo import BASELINE, CLASS_VOLUME, make_standin, run_main

STORED = Path(__file__).parent / "outputs"
LIFT = Path(__file__).parents[1] / "hosts" / "lift" / "standin"
COUNTS = [60, 30, 12, 8, 5, 3]
NAMES = ["ant", "bee", "cat", "dog", "elk", "fox"]
CLASSES = len(COUNTS)
SMOOTHING = 0.1
Criterion = ReweightedLoss | LogitAdjustedLoss
Put = Callable[[str, str], None]


def command(*arguments: str) -> str:
    """What `vlltr-plugin` prints for some arguments, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    torch.manual_seed(0)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line(list(arguments))
    return f"exit code {code}\n{out.getvalue()}" + (f"standard error:\n{err.getvalue()}" if err.getvalue() else "")


def lines_of(value: Any, name: str = "") -> Iterator[str]:
    """One line for each number, text and array of a nested state."""
    if isinstance(value, Mapping):
        for key in value:
            yield from lines_of(value[key], f"{name}.{key}" if name else str(key))
    elif isinstance(value, Tensor | np.ndarray):
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        if array.dtype == np.uint8:  # JSON in a tensor
            yield f"{name} {array.dtype}: {bytes(array).decode()}"
            return
        kind = "str" if array.dtype.kind == "U" else array.dtype
        yield f"{name} {kind} {list(array.shape)}: {' '.join(map(short, array.ravel().tolist()))}"
    elif isinstance(value, list):
        yield f"{name}: {' '.join(map(short, value))}"
    else:
        yield f"{name}: {short(value)}"


def short(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def arrays(folder: Path) -> str:
    """The arrays of every `.npz` of a folder."""
    parts = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            parts += [f"# {path.name}", *lines_of({name: file[name] for name in sorted(file)})]
    return "\n".join(parts) + "\n"


def sample(per_class: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Points of each class around a centre, and labels."""
    labels = torch.repeat_interleave(torch.arange(CLASSES), torch.tensor(per_class))
    centres = torch.randn(CLASSES, 5, generator=torch.Generator().manual_seed(7))
    noise = torch.randn(len(labels), 5, generator=torch.Generator().manual_seed(seed))
    return centres[labels] + (0.5 + 0.15 * labels[:, None]) * noise, labels


def mixed(rows: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup of a batch with its reverse, and label smoothing."""
    share = float(torch.rand((), generator=generator))
    hard = torch.nn.functional.one_hot(labels, CLASSES).float()
    soft = (1 - SMOOTHING) * (share * hard + (1 - share) * hard.flip(0)) + SMOOTHING / CLASSES
    return share * rows + (1 - share) * rows.flip(0), soft


def own_loop(folder: Path, criterion: Criterion, mixup: bool = False, seed: int = 0, epochs: int = 3) -> str:
    """Records a run of a linear model on points; returns the losses, the statistics of each epoch and the state."""
    rows, labels = sample(COUNTS, seed)
    test_rows, test_labels = sample([20] * CLASSES, 100)
    model = torch.nn.Linear(5, CLASSES)
    with torch.no_grad():
        model.weight.copy_(0.1 * torch.randn(CLASSES, 5, generator=torch.Generator().manual_seed(seed)))
        model.bias.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    recorder = RunRecorder(folder, criterion, settings={"lr": 0.5}, groups="30,5", class_names=NAMES)
    said = []
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        losses = []
        for part in torch.randperm(len(labels), generator=generator).split(20):
            inputs, targets = rows[part], labels[part]
            if mixup:
                inputs, targets = mixed(inputs, targets, generator)
            loss = criterion(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            right = 100 * (model(test_rows).argmax(1) == test_labels).double()
        each = right.view(CLASSES, -1).mean(1)
        groups = {"overall": right.mean(), "many": each[:2].mean(), "medium": each[2:4].mean(), "few": each[4:].mean()}
        statistics = recorder.end_epoch(epoch, **groups)
        said += [f"# epoch {epoch}", *lines_of({"losses": losses, **statistics})]
    even_times(folder / "log.txt")
    return "\n".join([*said, "# state", *lines_of(criterion.state_dict())]) + "\n"


def own_loops(folder: Path, put: Put) -> None:
    runs: dict[str, tuple[Criterion, bool]] = {
        "plain": (ReweightedLoss(Uniform(COUNTS)), False),
        "inverse": (ReweightedLoss(InverseFrequency(COUNTS, start_epoch=1)), False),
        "dv": (ReweightedLoss(ClassVolume(COUNTS)), False),
        "bv": (ReweightedLoss(ClassVolume(COUNTS, variant="bv", min_samples=6)), False),
        "pv": (ReweightedLoss(ClassVolume(COUNTS, variant="pv", axes=3)), False),
        "dv_margins": (LogitAdjustedLoss(ClassVolume(COUNTS), tau=1.5), False),
        "inverse_margins": (LogitAdjustedLoss(InverseFrequency(COUNTS)), False),
        "dv_mixup": (ReweightedLoss(ClassVolume(COUNTS), smoothing=SMOOTHING), True),
        "dv_mixup_margins": (LogitAdjustedLoss(ClassVolume(COUNTS), smoothing=SMOOTHING), True),
    }
    for name, (criterion, mixup) in runs.items():
        put(f"{name}.txt", own_loop(folder / name, criterion, mixup))
    for name in ("dv", "inverse", "dv_mixup_margins"):
        put(f"{name}_log.txt", (folder / name / "log.txt").read_text("utf-8"))
        put(f"{name}_settings.json", (folder / name / "reweight_settings.json").read_text("utf-8"))
        put(f"{name}_arrays.txt", arrays(folder / name / "reweight"))
    for name in ("dv", "dv_margins"):
        put(f"inspect_{name}.txt", command("inspect", str(folder / name)))
    put("inspect_dv_epoch_1_groups.txt", command("inspect", str(folder / "dv"), "--epoch", "1", "--groups", "others"))
    own_loop(folder / "plain_1", ReweightedLoss(Uniform(COUNTS)), seed=1)
    own_loop(folder / "dv_1", ReweightedLoss(ClassVolume(COUNTS)), seed=1)
    seeds = [f"{name}={folder / name},{folder / name}_1" for name in ("plain", "dv")]
    put("compare_seeds.txt", command("compare", *seeds, "--out", str(folder / "report")))
    put_report(folder / "report", put, "compare_seeds")
    names = ("plain", "inverse", "dv", "dv_margins", "dv_mixup")
    put("compare.txt", command("compare", *(str(folder / name) for name in names)))


def put_report(report: Path, put: Put, name: str) -> None:
    for path in sorted(report.glob("report.*")):
        put(f"{name}_{path.name}", path.read_text("utf-8"))


def values(folder: Path, put: Put) -> None:
    """Weights of every weighting, and losses of every base, without a training."""
    rows, labels = sample(COUNTS, 3)
    draws = np.sqrt(COUNTS) / np.sqrt(COUNTS).sum() * sum(COUNTS)
    volumes: dict[str, dict[str, Any]] = {
        "dv": {},
        "dv draws": {"draws": draws},
        "dv mean": {"normalize": "mean"},
        "dv dataset": {"normalize": "dataset", "draws": draws},
        "dv min_samples": {"min_samples": 6},
        "dv debias": {"debias": True},
        "bv": {"variant": "bv"},
        "bv debias": {"variant": "bv", "debias": True},
        "pv": {"variant": "pv"},
        "pv axes": {"variant": "pv", "axes": 3},
    }
    weightings: dict[str, Weighting] = {name: ClassVolume(COUNTS, **options) for name, options in volumes.items()}
    weightings |= {
        "none": Uniform(COUNTS),
        "inverse": InverseFrequency(COUNTS),
        "inverse draws": InverseFrequency(COUNTS, draws=draws),
        "inverse_sqrt": InverseSqrtFrequency(COUNTS),
        "effective_number": EffectiveNumber(COUNTS, beta=0.99),
    }
    logits = 2 * torch.randn(len(labels), CLASSES, generator=torch.Generator().manual_seed(5)) + rows[:, :1]
    _, soft = mixed(rows, labels, torch.Generator().manual_seed(6))
    said = []
    for targets, kind in ((labels, "hard"), (soft, "mixed")):
        for name, weighting in weightings.items():
            criterion = ReweightedLoss(weighting, smoothing=SMOOTHING)
            if kind == "mixed" and isinstance(weighting, ClassVolume):
                weighting = ClassVolume(COUNTS, **volumes[name])
                criterion = ReweightedLoss(weighting, smoothing=SMOOTHING)
            criterion(logits, targets)
            said += [f"# {name}, {kind}", *lines_of(criterion.end_epoch())]
            said += lines_of({"weights": weighting.weights, "log_radius": getattr(weighting, "log_radius", None)})
    put("weightings.txt", "\n".join(said) + "\n")
    said = []
    for base in ("softmax", "focal", "sigmoid"):
        for smoothing, targets, kind in (
            (0.0, labels, "hard"),
            (SMOOTHING, labels, "smoothed"),
            (SMOOTHING, soft, "mixed"),
        ):
            given = logits.clone().requires_grad_()
            loss = ReweightedLoss(InverseFrequency(COUNTS), base=base, smoothing=smoothing)(given, targets)
            loss.backward()
            assert given.grad is not None
            said.append(f"{base}, {kind}: {short(loss.item())} gradient {short(given.grad.abs().sum().item())}")
    put("base_losses.txt", "\n".join(said) + "\n")


def any_logits(folder: Path, put: Put) -> None:
    """`evaluate --logits`, with and without validation images."""
    rng = np.random.default_rng(0)

    def split(images: int) -> tuple[Any, Any]:
        labels = np.repeat(np.arange(CLASSES), images)
        scores = rng.normal(size=(len(labels), CLASSES)) + 0.7 * np.log(COUNTS)
        scores[np.arange(len(labels)), labels] += 1.5
        return scores.astype(np.float32), labels

    folder.mkdir()
    (scores, labels), (val_scores, val_labels) = split(20), split(10)
    validation = {"val_logits": val_scores, "val_labels": val_labels, "names": np.array(NAMES)}
    for name, more in (("test_only", {}), ("validation", validation)):
        np.savez(folder / f"{name}.npz", logits=scores, labels=labels, counts=np.array(COUNTS), **more)
        put(f"{name}.txt", command("evaluate", "--logits", str(folder / f"{name}.npz"), "--groups", "30,5"))
        put_evaluation(folder / name, put, name)


def put_evaluation(folder: Path, put: Put, name: str) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".csv"):
            put(f"{name}_{path.name}", path.read_text("utf-8"))
    put(f"{name}_arrays.txt", arrays(folder))
    put(f"{name}_files.txt", "".join(f"{path.name}\n" for path in sorted(folder.iterdir())))


def vl_ltr(folder: Path, put: Put) -> None:
    """The demo's stand-in: a plain run and one with class volume, two epochs each."""
    checkout = make_standin(folder)
    before = (checkout / "main.py").read_text("utf-8")
    put("install.txt", command("install", str(checkout)))
    put("status.txt", command("status", str(checkout)))
    lines = [line for line in (checkout / "main.py").read_text("utf-8").splitlines() if line not in before.splitlines()]
    put("inserted_lines.txt", "\n".join(lines) + "\n")
    put("check.txt", command("check", CLASS_VOLUME, "--checkout", str(checkout), "--device=cpu"))
    put("check_baseline.txt", command("check", BASELINE, "--checkout", str(checkout), "--device=cpu"))
    for config in (BASELINE, CLASS_VOLUME):
        run_main(checkout, config, "--epochs", "2")
    runs = checkout / "checkpoints"
    dv, baseline = runs / "digits_dv", runs / "digits_baseline"
    for run in (dv, baseline):
        put(f"{run.name}_log.txt", even_times(run / "log.txt"))
    put("arrays.txt", arrays(dv / "reweight"))
    saved = torch.load(dv / "checkpoint.pth", weights_only=False)
    put("checkpoint.txt", "\n".join(lines_of(saved["reweight"], "reweight")) + "\n")
    put("inspect.txt", command("inspect", str(dv)))
    put("compare.txt", command("compare", str(baseline), str(dv), "--out", str(folder / "report")))
    put_report(folder / "report", put, "compare")
    put("evaluate.txt", command("evaluate", str(dv), "--checkout", str(checkout), "--device=cpu", "--tau", "0.5", "1"))
    put_evaluation(dv / "evaluation", put, "evaluate")
    put("uninstall.txt", command("uninstall", str(checkout)))
    assert (checkout / "main.py").read_text("utf-8") == before


def lift(folder: Path, put: Put) -> None:
    """LIFT's stand-in: plain, with class volume as weights, and as margins."""
    checkout = Path(shutil.copytree(LIFT, folder, ignore=shutil.ignore_patterns("__pycache__")))
    before = (checkout / "trainer.py").read_text("utf-8")
    put("install.txt", command("install", str(checkout), "--host", "lift"))
    put("status.txt", command("status", str(checkout)))
    lines = [line for line in (checkout / "trainer.py").read_text().splitlines() if line not in before.splitlines()]
    put("inserted_lines.txt", "\n".join(lines) + "\n")
    runs = {
        "plain": "loss_type CE",
        "dv": "loss_type CE reweight.type class_volume",
        "clean_margins": "loss_type LA reweight.type class_volume reweight.source clean_pass num_epochs 3",
    }
    put("check.txt", command("check", "--checkout", str(checkout), "--host-args", runs["dv"]))
    for name, options in runs.items():
        program = [sys.executable, "main.py", "output_dir", f"runs/{name}", *options.split()]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(program, cwd=checkout, check=True, capture_output=True, env=environment)
        log = even_times(checkout / "runs" / name / "log.txt")
        put(f"{name}_log.txt", log[log.index("************") :])
    for name in ("dv", "clean_margins"):
        put(f"{name}_arrays.txt", arrays(checkout / "runs" / name / "reweight"))
    dv = checkout / "runs" / "dv"
    put("inspect.txt", command("inspect", str(dv)))
    logs = [str(checkout / "runs" / name) for name in runs]
    put("compare.txt", command("compare", *logs, "--out", str(folder / "report")))
    put_report(folder / "report", put, "compare")
    evaluated = ("evaluate", str(dv), "--checkout", str(checkout), "--device=cpu")
    put("evaluate.txt", command(*evaluated, "--host-args", f"output_dir runs/dv {runs['dv']}"))
    put_evaluation(dv / "evaluation", put, "evaluate")
    put("uninstall.txt", command("uninstall", str(checkout)))
    assert (checkout / "trainer.py").read_text("utf-8") == before


MASKED = [
    (r"\b[0-9a-f]{32,}\b", "<hash>"),
    (r"(?<=vlltr-plugin run 1: )[0-9a-f]+", "<run>"),
    (r"(?m)^seconds: .*", "seconds: <time>"),
    (r'("(?:torch|vlltr_plugin|plugin_version)": )"[^"]*"', r'\1"<version>"'),
    (r"(\bversion:? |# vlltr-plugin )\d+\.\d+\.\d+", r"\1<version>"),
    (r"[\d.]+ [kMGT]?B free", "<memory> free"),
]


def masked(text: str, folder: Path) -> str:
    for place in {str(folder.resolve()), str(folder)}:
        text = text.replace(place, "<dir>")
    for pattern, instead in MASKED:
        text = re.sub(pattern, instead, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def even_times(log: Path) -> str:
    """Sets the seconds in a run's log to one value, for all that is read from it; returns the log."""
    text = re.sub(r'(reweight_seconds"?:? )[\d.e+-]+', r"\g<1>0.002", log.read_text("utf-8"))
    log.write_text(text, "utf-8")
    return text


def make(folder: Path) -> dict[str, str]:
    """All outputs by name; the runs are made in a folder."""
    made: dict[str, str] = {}
    torch.set_num_threads(1)
    before = dict(os.environ)
    os.environ |= {"COLUMNS": "120", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    try:
        warnings.filterwarnings("ignore", "Overwriting", UserWarning)  # a process of its own registers each model once
        for part in (values, own_loops, any_logits, lift, vl_ltr):

            def put(name: str, text: str, part: Any = part) -> None:
                made[f"{part.__name__}/{name}"] = masked(text, folder)

            part(folder / part.__name__, put)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return made


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        outputs = make(Path(temporary))
    shutil.rmtree(STORED, ignore_errors=True)
    for name, text in outputs.items():
        (STORED / name).parent.mkdir(parents=True, exist_ok=True)
        (STORED / name).write_text(text, "utf-8")
    print(f"{len(outputs)} files, {sum(map(len, outputs.values())) / 1000:.0f} kB")
