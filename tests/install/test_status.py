"""What `status` says about a checkout that somebody went on editing."""

import pytest
from install.small_hosts import HOST, rewrite

from vlltr_plugin import __version__
from vlltr_plugin.install import AnchorError, State, install, load_recipes, status, uninstall

INSERTIONS = {item.name: item.line for item in load_recipes()["vl-ltr"].patches[0].insertions}
BEGIN = f"        {INSERTIONS['begin_epoch']}  # vlltr-plugin {__version__}\n"
RESUME = "    if args.resume:\n"
EDITS = {
    "not where this version would put it: `reweight_hook = ": (RESUME, f"    criterion = 3\n{RESUME}"),
    "is not a line of this version: `reweight_hook.load(args)`": ("load(checkpoint)", "load(args)"),
    "is there 2 times": (BEGIN, BEGIN + BEGIN),
    "anchor `load`": ("checkpoint is not None", "checkpoint"),
    "": ("import json\n", "import json\nimport os\n"),
}


@pytest.mark.parametrize("name", INSERTIONS)
def test_a_missing_line_is_named_and_install_puts_it_back(name, make_checkout):
    root = make_checkout()
    install(root)
    whole = (root / "main.py").read_text()
    line = next(line for line in whole.splitlines(keepends=True) if INSERTIONS[name] in line)
    (root / "main.py").write_text(whole.replace(line, ""))
    found = status(root)
    assert found.state is State.PARTIAL
    assert f"missing line `{INSERTIONS[name]}`" in str(found)
    install(root)
    assert (root / "main.py").read_text() == whole


@pytest.mark.parametrize("problem", EDITS)
def test_edited_lines_are_reported_and_install_repairs_them(problem, make_checkout):
    root = make_checkout()
    install(root)
    rewrite(root / "main.py", EDITS[problem])
    found = status(root)
    assert found.fits is (problem == "")
    assert problem in str(found)
    if problem == "anchor `load`":  # nothing that install could do
        assert found.state is State.INSTALLED
    else:
        install(root)
        assert status(root).fits


def test_lines_without_marker_are_named(make_checkout):
    root = make_checkout(HOST.replace("import json\n", "import vlltr_plugin.compat\nimport json\n"))
    assert "without its marker" in str(status(root))


def test_lines_inserted_by_hand_get_the_configs_and_come_out_again(make_checkout):
    changed = HOST.replace("checkpoint is not None", "checkpoint")
    root = make_checkout(changed)
    with pytest.raises(AnchorError) as caught:
        install(root)
    load = next(line.strip() for line in str(caught.value).splitlines() if "hook.load(" in line)
    helped = make_checkout(name="helped")
    install(helped)
    by_hand = (helped / "main.py").read_text().replace("checkpoint is not None", "checkpoint")
    assert load in by_hand
    (root / "main.py").write_text(by_hand)
    notes = install(root).notes
    assert any("unchecked" in note and "anchor `load`" in note for note in notes)
    assert (root / "configs" / "class_volume" / "one.py").exists()
    assert status(root).state is State.INSTALLED
    uninstall(root)
    assert (root / "main.py").read_text() == changed
    assert not (root / "configs" / "class_volume").exists()
