"""Which host a checkout is of; training in files of other names: they are named, picked, and found again."""

import pytest
from install.small_hosts import contents

from vlltr_plugin.cli import main
from vlltr_plugin.install import AnchorError, InstallError, State, install, status, uninstall


def moved(root, old, new, left=None):
    (root / old).rename(root / new)
    if left is not None:
        (root / old).write_text(left)


@pytest.mark.parametrize("left", [None, "def main(args):\n    return []\n"], ids=["alone", "beside another"])
def test_a_script_of_another_name_is_named_picked_and_found_again(left, make_checkout, capsys):
    root = make_checkout()
    moved(root, "main.py", "main_dist.py", left)
    before = contents(root)
    assert main(["install", str(root)]) == 2
    assert "main_dist.py fits" in (said := capsys.readouterr().err)
    assert "--file main_dist.py" in said
    assert main(["install", str(root), "--file", "main_dist.py"]) == 0
    assert (root / "main_dist.py").read_text().count("# vlltr-plugin") == 6
    assert status(root).fits, str(status(root))
    assert install(root).changes == ()
    uninstall(root)
    assert contents(root) == before


@pytest.mark.parametrize("script", ["main.py", "main_mix.py"])
def test_a_trainer_in_another_file_is_suggested_used_and_uninstalled(script, make_lift):
    root = make_lift()
    moved(root, "trainer.py", "train.py")
    (root / script).write_text("from train import Trainer\n\nTrainer().train()\n")
    before = contents(root)
    with pytest.raises(InstallError, match=r"no trainer.py \(LIFT\)\ntrain.py fits.*`--file train.py`"):
        install(root)
    report = install(root, files=["trainer.py=train.py"])
    assert f"python {script} " in report.next_command
    found = status(root)
    assert (found.state, found.problems) == (State.INSTALLED, ()), str(found)
    uninstall(root)
    assert contents(root) == before


def test_lines_in_two_files_are_both_taken_out(make_checkout):
    root = make_checkout()
    (root / "main_dist.py").write_bytes((root / "main.py").read_bytes())
    before = contents(root)
    install(root)
    install(root, files=["main_dist.py"])
    assert status(root).fits
    uninstall(root)
    assert contents(root) == before


@pytest.mark.parametrize("file", ["gone.py", "../main.py", "utils.py=main.py", "main.py=data/main.py"])
def test_an_unsuitable_file_option_is_refused_before_anything_is_written(file, make_checkout):
    root = make_checkout()
    (root / "data").mkdir()
    (root / "data" / "main.py").write_bytes((root / "main.py").read_bytes())
    before = contents(root)
    with pytest.raises(InstallError, match="expected --file"):
        install(root, files=[file])
    assert contents(root) == before


def test_the_host_is_found_out(make_lift, make_checkout):
    assert install(make_lift()).recipe.host == "LIFT"
    assert install(make_checkout()).recipe.host == "VL-LTR"
    both = make_checkout(name="both")  # a VL-LTR checkout with files of these names is one all the same
    (both / "utils").mkdir()
    for name in ("trainer.py", "utils/config.py"):
        (both / name).write_text("x = 1\n")
    assert install(both).recipe.host == "VL-LTR"
    (both / "main.py").write_text("x = 1\n")
    uninstall(both)


def test_a_checkout_that_fits_two_hosts_belongs_to_the_one_with_lines(make_lift, host):
    root = make_lift()
    (root / "main.py").write_text(host)
    assert install(root, host="vl-ltr").recipe.host == "VL-LTR"
    assert status(root).fits
    uninstall(root)
    assert (root / "main.py").read_text() == host
    assert install(root, dry_run=True).recipe.host == "LIFT"


def test_the_host_can_be_named_and_a_wrong_name_is_refused(make_lift, make_checkout):
    with pytest.raises(InstallError, match=r"no trainer\.py, no utils/config\.py"):
        install(make_checkout(), host="lift")
    with pytest.raises(AnchorError, match=r"^main\.py"):
        install(make_lift(), host="vl-ltr")
    broken = make_checkout(name="broken")
    for name in ("main.py", "train.py"):
        (broken / name).write_text("x = 1\n")
    with pytest.raises(AnchorError, match=r"^main\.py"):  # not timm's train.py, a name that others have too
        install(broken)
    with pytest.raises(InstallError, match="auto or one of lift, timm, vl-ltr"):
        install(make_lift(name="other"), host="another")
