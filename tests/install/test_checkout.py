"""Which host a checkout is of; training in files of other names: they are named, picked, and found again."""

import pytest
from install.small_hosts import HOST, contents, write_files

from vlltr_plugin.cli import main
from vlltr_plugin.install import AnchorError, InstallError, State, install, status, uninstall

OTHER = "def main(args):\n    return []\n"


@pytest.mark.parametrize("left", [{}, {"main.py": OTHER}], ids=["alone", "beside another"])
def test_a_script_of_another_name_is_named_picked_and_found_again(left, make_checkout, capsys):
    root = make_checkout()
    (root / "main.py").rename(root / "main_dist.py")
    before = contents(write_files(root, left))
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
    (root / "trainer.py").rename(root / "train.py")
    before = contents(write_files(root, {script: "from train import Trainer\n\nTrainer().train()\n"}))
    with pytest.raises(InstallError, match=r"no trainer.py \(LIFT\)\ntrain.py fits.*`--file train.py`"):
        install(root)
    assert f"python {script} " in install(root, files=["trainer.py=train.py"]).next_command
    found = status(root)
    assert (found.state, found.problems) == (State.INSTALLED, ()), str(found)
    uninstall(root)
    assert contents(root) == before


def test_lines_in_two_files_are_both_taken_out(make_checkout):
    root = write_files(make_checkout(), {"main_dist.py": HOST})
    before = contents(root)
    install(root)
    install(root, files=["main_dist.py"])
    assert status(root).fits
    uninstall(root)
    assert contents(root) == before


@pytest.mark.parametrize("file", ["gone.py", "../main.py", "utils.py=main.py", "main.py=data/main.py"])
def test_an_unsuitable_file_option_is_refused_before_anything_is_written(file, make_checkout):
    root = write_files(make_checkout(), {"data/main.py": HOST})
    before = contents(root)
    with pytest.raises(InstallError, match="expected --file"):
        install(root, files=[file])
    assert contents(root) == before


def test_the_host_is_found_out_or_named(make_lift, make_checkout):
    lift, vl_ltr = make_lift(), make_checkout()
    with pytest.raises(InstallError, match=r"no trainer\.py, no utils/config\.py"):
        install(vl_ltr, host="lift")
    with pytest.raises(AnchorError, match=r"^main\.py"):
        install(lift, host="vl-ltr")
    with pytest.raises(InstallError, match="auto or one of lift, timm, vl-ltr"):
        install(lift, host="another")
    assert install(lift).recipe.host == "LIFT"
    # A VL-LTR checkout with files of LIFT's names is one all the same.
    assert install(write_files(vl_ltr, {"trainer.py": "x = 1\n", "utils/config.py": ""})).recipe.host == "VL-LTR"
    uninstall(write_files(vl_ltr, {"main.py": "x = 1\n"}))
    with pytest.raises(AnchorError, match=r"^main\.py"):  # not timm's train.py, a name that others have too
        install(write_files(make_checkout("x = 1\n", name="broken"), {"train.py": "x = 1\n"}))


def test_a_checkout_that_fits_two_hosts_belongs_to_the_one_with_lines(make_lift):
    root = write_files(make_lift(), {"main.py": HOST})
    assert install(root, host="vl-ltr").recipe.host == "VL-LTR"
    assert status(root).fits
    uninstall(root)
    assert (root / "main.py").read_text() == HOST
    assert install(root, dry_run=True).recipe.host == "LIFT"
