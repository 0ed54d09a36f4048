"""What `status` says about a checkout that somebody went on editing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vlltr_plugin import __version__
from vlltr_plugin.install import AnchorError, State, install, load_recipes, status, uninstall

Make = Callable[..., Path]


def edited(root: Path, change: Callable[[str], str]) -> Path:
    main = root / "main.py"
    before = main.read_text()
    main.write_text(change(before))
    assert main.read_text() != before
    return root


def test_clean_checkout_says_not_installed_and_whether_it_would_fit(make_checkout: Make) -> None:
    found = status(make_checkout())
    assert found.state is State.ABSENT
    assert "install would fit" in str(found)
    assert "install would be refused: main.py" in str(status(make_checkout("x = 1\n", name="other")))


def test_installed_says_version_and_fits(make_checkout: Make) -> None:
    root = make_checkout()
    install(root)
    found = status(root)
    assert found.fits
    assert found.versions == (__version__,)
    assert f"installed from version {__version__}, and fits" in str(found)


def test_edits_elsewhere_still_fit(make_checkout: Make) -> None:
    root = make_checkout()
    install(root)
    assert status(edited(root, lambda text: text.replace("import json\n", "import json\nimport os\n"))).fits


@pytest.mark.parametrize("name", [item.name for item in load_recipes()["vl-ltr"].patches[0].insertions])
def test_a_missing_line_is_named_and_install_puts_it_back(name: str, make_checkout: Make) -> None:
    code = next(item.line for item in load_recipes()["vl-ltr"].patches[0].insertions if item.name == name)
    root = make_checkout()
    install(root)
    whole = (root / "main.py").read_text()
    edited(root, lambda text: "".join(line for line in text.splitlines(keepends=True) if code not in line))
    found = status(root)
    assert found.state is State.PARTIAL
    assert f"missing line `{code}`" in str(found)
    install(root)
    assert (root / "main.py").read_text() == whole


def test_a_line_that_no_longer_stands_in_its_place_is_named(make_checkout: Make) -> None:
    root = make_checkout()
    install(root)
    edited(root, lambda text: text.replace("\n    if args.resume:", "\n    criterion = 3\n    if args.resume:"))
    found = status(root)
    assert not found.fits
    assert "not where this version would put it: `reweight_hook = " in str(found)
    install(root)
    assert status(root).fits


def test_a_doubled_or_altered_line_is_named(make_checkout: Make) -> None:
    root = make_checkout()
    install(root)
    edited(root, lambda text: text.replace("load(checkpoint)", "load(args)"))
    assert "is not a line of this version: `reweight_hook.load(args)`" in str(status(root))
    install(root)
    line = next(line for line in (root / "main.py").read_text().splitlines(True) if "begin_epoch" in line)
    edited(root, lambda text: text.replace(line, line + line))
    assert "is there 2 times" in str(status(root))


def test_edits_that_take_a_place_away_are_named(make_checkout: Make) -> None:
    root = make_checkout()
    install(root)
    edited(root, lambda text: text.replace("checkpoint is not None", "checkpoint"))
    found = status(root)
    assert found.state is State.INSTALLED
    assert not found.fits
    assert "anchor `load`" in str(found)


def test_a_lost_or_edited_config_is_named(make_checkout: Make) -> None:
    root = make_checkout()
    install(root)
    (root / "configs" / "class_volume" / "one.py").unlink()
    with (root / "configs" / "class_volume" / "two.py").open("a") as file:
        file.write("# mine\n")
    text = str(status(root)).replace("\\", "/")
    assert "class_volume/one.py: missing" in text
    assert "class_volume/two.py: edited copy" in text


def test_lines_without_marker_are_named(make_checkout: Make, host: str) -> None:
    root = make_checkout(host.replace("import json\n", "import vlltr_plugin.compat\nimport json\n"))
    assert "without its marker" in str(status(root))


def test_lines_inserted_by_hand_get_the_configs_and_come_out_again(make_checkout: Make, host: str) -> None:
    changed = host.replace("checkpoint is not None", "checkpoint")
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
