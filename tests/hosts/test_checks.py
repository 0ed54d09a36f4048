"""`vlltr-plugin check` on the stand-ins for LIFT and timm's train.py."""

from pathlib import Path

import pytest
from checking import check, edited, only, with_status
from hosts.standins import copy_of, installed, standin

from vlltr_plugin.cli import main
from vlltr_plugin.install import install, uninstall

pytestmark = pytest.mark.usefixtures("forked")

LIFT = "loss_type CE reweight.type class_volume"
TIMM = "--reweight class_volume --reweight-opt min_samples=5"
BYPASS = """    args, args_text = _parse_args()
    os.makedirs(args.output, exist_ok=True)
    for name in ("args.yaml", "log.txt"):
        with open(os.path.join(args.output, name), "w") as file:
            file.write(args_text)
"""
Expected = dict[str, tuple[str, str]]

CASES: dict[tuple[str, str], tuple[str, Expected]] = {
    ("lift", "a run that fits"): (LIFT, {
        "labels": ("ok", "227 images of 5 classes, 5 to 120 each"), "sampler": ("ok", "2.20% to 52.86% of the draws"),
        "reweight": ("ok", "as loss weights, from epoch [2/2] on"), "step": ("ok", "[8, 5] finite logits")}),
    ("lift", "measured first"): (
        f"{LIFT} reweight.measure_first True",
        {"reweight": ("ok", "from epoch [1/2] on; with equal radii alpha runs from 0.378 to 9.08")}),
    ("lift", "a plain run"): ("loss_type Focal", {"reweight": ("skip", ""), "step": ("ok", "")}),
    ("lift", "a loss of another kind"): (f"{LIFT} loss_type Focal", {"reweight": ("FAIL", "CE (class weights) or LA")}),
    ("lift", "a wrong type"): ("reweight.type class_volum", {"reweight": ("FAIL", "did you mean 'class_volume'")}),
    ("lift", "arguments that main.py refuses"): ("lr", {"trainer": ("FAIL", "odd length")}),
    ("lift", "a wrong key"): ("reweight.tpye class_volume", {"trainer": ("FAIL", "reweight.tpye")}),
    ("lift", "unknown draws"): (f"{LIFT} sampler HardestFirst", {"sampler": ("FAIL", "HardestFirst")}),
    ("lift", "too few epochs"): (f"{LIFT} num_epochs 1", {"reweight": ("FAIL", "the run is the baseline")}),
    ("timm_train", "a run that fits"): (TIMM, {"reweight": ("ok", "min_samples 5 as loss weights, from epoch 1 on")}),
    ("timm_train", "not mixed"): (f"{TIMM} --no-prefetcher", {"step": ("ok", "[8, 4] finite logits")}),
    ("timm_train", "another dtype"): (
        f"--no-prefetcher --model-dtype bfloat16 {TIMM}", {"step": ("ok", "[8, 4] finite logits")}),
    ("timm_train", "mixed by the loader"): (f"--mixup 0.8 --bce-loss {TIMM}", {"step": ("ok", "[8, 4] finite logits")}),
    ("timm_train", "a plain run"): (
        "--smoothing 0", {"reweight": ("skip", "nothing is re-weighted"), "step": ("ok", "loss")}),
    ("timm_train", "unknown labels"): (
        f"--labels none {TIMM}", {"labels": ("FAIL", "labels are known"), "step": ("skip", "it needs")}),
    ("timm_train", "unknown labels of a plain run"): (
        "--labels none", {"labels": ("skip", "needs none"), "step": ("ok", "loss")}),
    ("timm_train", "too few epochs"): (f"{TIMM} start_epoch=3", {"reweight": ("FAIL", "never apply")}),
    ("timm_train", "a loss that is refused"): (f"--jsd-loss {TIMM}", {"reweight": ("FAIL", "no --jsd-loss")}),
    ("timm_train", "an unknown argument"): ("--learning 1", {"train.py": ("FAIL", "refused its arguments")}),
}  # fmt: skip


@pytest.mark.parametrize(("host", "case"), CASES)
def test_checks_pass_or_report_the_fault(host: str, case: str, tmp_path: Path) -> None:
    root = installed(host, tmp_path / "standin")
    if host == "lift":  # no check goes through the images
        line = "        return super().forward(image"
        edited("trainer.py", line, f"        assert len(image) <= 8, 'an extra pass'\n{line}")(root)
    arguments, expected = CASES[host, case]
    fails = any(status == "FAIL" for status, _ in expected.values())
    found = check(root, "--host-args", arguments, code=int(fails))
    assert fails or with_status(found, "FAIL") == []
    for name, (status, part) in expected.items():
        assert found[name][0] == status
        assert part in found[name][1]


RENAMED = {
    "timm_train": ("train.py", "my_train.py", "train.py=my_train.py"),
    "lift": ("main.py", "run.py", "trainer.py=my_trainer.py"),
}
ASKED = {"timm_train": TIMM, "lift": LIFT}


def renamed(host: str, root: Path) -> tuple[Path, str]:
    """A checkout with the lines in files of other names, whose usual script must not run, and the option for them."""
    usual, own, option = RENAMED[host]
    copy_of(standin(host), root)
    if host == "lift":
        (root / "my_trainer.py").write_text((root / "trainer.py").read_text())
    script = (root / usual).read_text()
    (root / own).write_text(script.replace("from trainer import", "from my_trainer import"))
    (root / usual).write_text(f'raise RuntimeError("the usual script")\n{script}')
    install(root, files=[option])
    return root, option


@pytest.mark.parametrize("host", RENAMED)
def test_the_script_with_the_lines_runs_whatever_its_name(host: str, tmp_path: Path) -> None:
    root, option = renamed(host, tmp_path / "standin")
    found = check(root, "--host-args", ASKED[host], code=0)
    assert (found["reweight"][0], found["step"][0]) == ("ok", "ok")
    uninstall(root)
    install(root)
    part = "train.py" if host == "timm_train" else "trainer"
    assert "the usual script" in only(check(root, "--host-args", ASKED[host], code=1), part)
    install(root, files=[option])  # beside the usual one
    assert "the usual script" in only(check(root, "--host-args", ASKED[host], code=1), part)


def test_several_scripts_with_the_lines_but_the_usual_one_are_an_error(tmp_path: Path) -> None:
    root, _ = renamed("timm_train", tmp_path / "standin")
    own = RENAMED["timm_train"][1]
    (root / "other.py").write_text((root / own).read_text())
    uninstall(root)
    for name in (own, "other.py"):
        install(root, files=[name])
    message = only(check(root, "--host-args", ASKED["timm_train"], code=1), "train.py")
    assert f"{own} and other.py have them: uninstall" in message or f"other.py and {own} have them" in message


def test_without_the_usual_script_the_one_that_makes_the_trainer_runs(tmp_path: Path) -> None:
    root = installed("lift", tmp_path / "standin")
    (root / "main.py").rename(root / "run.py")
    assert check(root, "--host-args", LIFT, code=0)["step"][0] == "ok"
    (root / "run.py").unlink()
    assert "without training" in only(check(root, "--host-args", LIFT, code=1), "trainer")


def test_a_run_that_only_tests_is_said_to(tmp_path: Path) -> None:
    root = installed("lift", tmp_path / "standin")
    edited("main.py", "trainer.train()", "trainer.test()")(root)
    message = only(check(root, "--host-args", "loss_type CE", code=1), "trainer")
    assert message.startswith("Expected arguments with which main.py trains but with these it ends normally")


@pytest.mark.parametrize("inside", [True, False])
def test_a_script_that_bypasses_attach_overwrites_no_finished_run(inside: bool, tmp_path: Path) -> None:
    root = installed("timm_train", tmp_path / "standin")
    edited("train.py", "    main()", BYPASS)(root)
    run = (root if inside else tmp_path) / "runs" / "finished"
    run.mkdir(parents=True)
    (run / "args.yaml").write_text("lr: 0.05\n")
    output = "runs/finished" if inside else str(run)
    message = only(check(root, "--host-args", f"--output {output} --smoothing 0", code=1), "train.py")
    assert ("ends normally" if inside else f"it would change {run}/args.yaml") in message
    assert [path.name for path in run.iterdir()] == ["args.yaml"]
    assert (run / "args.yaml").read_text() == "lr: 0.05\n"


def test_a_checkout_without_the_lines_is_named(tmp_path: Path) -> None:
    root = installed("lift", tmp_path / "standin")
    uninstall(root)
    assert check(root, "--host-args", LIFT, code=1)["plug-in"][0] == "FAIL"
    assert check(root, "--host-args", "loss_type CE", code=0)["plug-in"][0] == "skip"


WRONG = [
    ("lift", ["x.py"], "Expected no CONFIG for LIFT"),
    ("timm_train", ["x.py"], "Expected no CONFIG for timm"),
    ("timm_train", [], 'Expected the arguments of train.py: give --host-args "--data-dir DATA '),
    (None, [], "Expected the CONFIG of the run, such as configs/class_volume/imagenet_lt_r50_dv.py."),
]


@pytest.mark.parametrize(("host", "arguments", "message"), WRONG)
def test_a_config_or_arguments_that_the_host_does_not_take_are_refused(
    host: str | None, arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = installed(host, tmp_path / "standin") if host else tmp_path
    assert main(["check", *arguments, "--checkout", str(root)]) == 2
    assert message in capsys.readouterr().err
