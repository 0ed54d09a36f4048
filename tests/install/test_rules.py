"""Hosts that people changed: each is patched and runs right, or is refused; never a wrong insertion."""

import pytest
from install.small_hosts import assert_refused, rewrite, run_host

from vlltr_plugin.install import load_recipes
from vlltr_plugin.install.patcher import with_lines, without_lines

RECIPE = load_recipes()["vl-ltr"].patches[0]
PLACES = {item.name: item.place for item in RECIPE.insertions}

# Pieces of the miniature host that several mutations replace.
DOCSTRING = '"""Trains nothing, in the order in which the real script trains something."""\n'
FUTURE = "from __future__ import annotations\n"
DEF_MAIN = "\n\ndef main(args):\n"
SAMPLER = '    if args.weighted:\n        sampler_train = "weighted"\n    else:\n        sampler_train = "plain"\n'
WHOLE_LOSS = '    print("the whole loss:", criterion)\n'
IF_CHECKPOINT = "        if checkpoint is not None:  # something to go on from\n"
LOAD = IF_CHECKPOINT + '            if "at" in checkpoint:\n                args.first'
AFTER_RESUME = "    log = []\n"
IN_LOOP = "        marks = epoch // 2\n"
TRAIN = """\
        if not args.debug:
            train_stats = teach_epoch(
                model, criterion, epoch,
                mixup_fn,
            )
"""
SAVE = """\
        for path in [f"{marks}.pth"]:
            tools.save_on_master({
                "net": model,
                "at": epoch,
                "args": args,
            }, path)
"""
SAVE_BLACK = """\
        for path in [f"{marks}.pth"]:
            tools.save_on_master(
                {
                    "net": model,
                    "at": epoch,
                    "args": args
                },
                path,
            )
"""
CALL, PLAIN_CALL = "teach_epoch(model, criterion, epoch, mixup_fn)", "        train_stats = "
AFTER_LOG = "        log.append"

FITTING: dict[str, list[tuple[str, str]]] = {
    "unchanged": [],
    "another argument of the criterion": [('"distillation", criterion\n', '"distillation", criterion, *()\n')],
    "more imports": [("import json\n", "import os, sys; import re\nimport json\n")],
    "no docstring": [(DOCSTRING, "")],
    "no future import": [(FUTURE, "")],
    "long future import": [(FUTURE, "from __future__ import (\n    annotations,\n)  # why\n\n# then\n")],
    "shebang and cookie": [('"""Trains', '#!/usr/bin/env python\n# coding: utf-8\n"""Trains')],
    "decorated first statement": [("import json\n", "@id\ndef first(): pass\nimport json\n")],
    "statements between": [
        (WHOLE_LOSS, "    extra = 1\n    if extra:\n        extra += 1\n"),
        (IN_LOOP, f"        args.now = epoch\n{IN_LOOP}"),
    ],
    "black": [(SAVE, SAVE_BLACK), ("epoch,\n                mixup_fn,\n", "epoch, mixup_fn\n")],
    "renamed loop helper": [("teach_epoch(", "run_epoch(")],
    "save function imported by name": [
        ("tools.save_on_master({", "save_on_master({"),
        (DEF_MAIN, f"\nsave_on_master = tools.save_on_master\n{DEF_MAIN}"),
    ],
    "decorated main": [("def main(args):", "@(lambda f: f)\ndef main(args):")],
    "main with more arguments": [("def main(args):", "def main(args, *more, flag: bool = False, **rest) -> list:")],
    "main block elsewhere": [(DEF_MAIN, f"\n\nif __name__ == '__main__':\n    print('early')\n{DEF_MAIN}")],
    "sampler in try": [
        (SAMPLER, '    try:\n        sampler_train = "weighted"\n    except KeyError:\n        raise\n')
    ],
    "sampler under a constant": [(SAMPLER, '    if True:\n        sampler_train = "weighted"\n')],
    "training without the debug guard": [(TRAIN, f"{PLAIN_CALL}{CALL}\n")],
    "training in with": [
        (
            "        if not args.debug:\n            train_stats =",
            "        with open('/dev/null'):\n            train_stats =",
        )
    ],
    "training in try": [(TRAIN, f"        try:\n    {PLAIN_CALL}{CALL}\n        finally:\n            pass\n")],
    "annotated statistics": [("train_stats = teach", "train_stats: dict = teach")],
    "dict that starts on the brace's line": [('({\n                "net": model,\n', '({"net": model,\n')],
    "dict without trailing comma": [('"args": args,\n            }', '"args": args}')],
    "dict of unpacked parts": [('"net": model,\n', '**{"net": model},\n')],
    "dict of nothing but unpacked parts": [
        ('"net": model,\n', '**{"net": model},\n'),
        ('"at": epoch,\n                "args": args,\n', '**{"at": epoch, "args": args},\n'),
    ],
    "statistics with a second name": [("train_stats = teach", "args.stats = train_stats = teach")],
    "comment first in the dict": [("({\n", "({  # state\n                # all of it\n")],
    "names that end alike": [(DEF_MAIN, f"\n\ndef domain(args):\n    criterion = 1\n{DEF_MAIN}")],
    "loop variable in a comprehension": [(IN_LOOP, f"        args.all = [epoch for epoch in ()]\n{IN_LOOP}")],
    "criterion in a nested function": [(AFTER_RESUME, f"{AFTER_RESUME}    def other():\n        criterion = 2\n")],
    "names reused after the loop": [("    return log\n", "    model = criterion = None\n    return log\n")],
    "marker in a string": [
        ("import json\n", 'import json\nNOTE = """\nimport vlltr_plugin.compat  # vlltr-plugin 0.1.0\n"""\n')
    ],
    "backslash in a comment": [(IF_CHECKPOINT, f"{IF_CHECKPOINT[:-1]}  # \\\n            # remark\n")],
}

REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "no main": ("function `main`", [("def main(", "def train("), ("    main(Box", "    train(Box")]),
    "two mains": ("found 2", [("\n\nif __name__", f"{DEF_MAIN}    pass\n\n\nif __name__")]),
    "async main": ("function `main`", [("def main(", "async def main(")]),
    "criterion renamed": ("`attach`", [("criterion", "loss_fn")]),
    "criterion set in the loop": ("`criterion`", [(IN_LOOP, f"        criterion = 3\n{IN_LOOP}")]),
    "criterion set after resume": ("`load`", [(AFTER_RESUME, "    log, criterion = [], 1\n")]),
    "criterion shares its line": ("own line", [(WHOLE_LOSS, "    criterion = 1; print()\n")]),
    "model wrapped after the criterion": ("`model`", [(AFTER_RESUME, "    log, model = [], (model,)\n")]),
    "model wrapped in the loop": ("`model`", [(IN_LOOP, f"        model = (model,)\n{IN_LOOP}")]),
    "mixup dropped late": ("`mixup_fn`", [(IN_LOOP, f"        if epoch > 9: mixup_fn = None\n{IN_LOOP}")]),
    "sampler renamed": ("`sampler_train`", [("sampler_train", "drawer")]),
    "sampler on one path only": ("`sampler_train`", [("else:\n        sampler_train", "else:\n        other")]),
    "sampler in a loop": ("`sampler_train`", [(SAMPLER, '    for sampler_train in ["plain"]:\n        pass\n')]),
    "sampler swallowed by try": (
        "`sampler_train`",
        [(SAMPLER, '    try:\n        sampler_train = "plain"\n    except KeyError:\n        pass\n')],
    ),
    "mixup renamed": ("`mixup_fn`", [("mixup_fn", "mixer")]),
    "args renamed": ("`args`", [("def main(args):", "def main(opts):")]),
    "dataset deleted": ("`dataset_train`", [(WHOLE_LOSS, f"    del dataset_train\n{WHOLE_LOSS}    criterion = 1\n")]),
    "no checkpoint test": ("`load`", [(IF_CHECKPOINT, "        if checkpoint:\n")]),
    "two checkpoint tests": (
        "found 2 places",
        [(AFTER_RESUME, f"{AFTER_RESUME}    if checkpoint is not None:\n        pass\n")],
    ),
    "checkpoint test in a loop": ("inside a loop", [("    if args.resume:\n", "    while args.resume:\n")]),
    "one-line checkpoint test": ("own line", [(LOAD, "        if checkpoint is not None: args.first")]),
    "checkpoint test continued": (
        "change the meaning",
        [(LOAD, "        if checkpoint is not None: \\\n            args.first")],
    ),
    "no epoch loop": ("`for epoch in", [("for epoch in", "for step in")]),
    "two epoch loops": ("found 2", [("    return log\n", "    for epoch in ():\n        pass\n    return log\n")]),
    "epoch loop in a block": ("`for epoch in", [("    for epoch in", "    with open('x'):\n     for epoch in")]),
    "epoch changed in the loop": ("`epoch`", [(IN_LOOP, f"        epoch += 1\n{IN_LOOP}")]),
    "no training call": ("`end_epoch`", [("train_stats = teach_epoch(", "train_stats = (")]),
    "two training calls": ("found 2 places", [(IN_LOOP, f"        train_stats = dict()\n{IN_LOOP}")]),
    "training in an inner loop": ("inside a loop", [("if not args.debug:", "for part in (1, 2):")]),
    "one-line training": ("own line", [(TRAIN, f"        if not args.debug: train_stats = {CALL}\n")]),
    "statistics replaced": ("`train_stats`", [(AFTER_LOG, f"        train_stats = {{}}\n{AFTER_LOG}")]),
    "two statements on the training line": ("own line", [(f"{TRAIN[-32:]}", f"{TRAIN[-32:-1]}; print()\n")]),
    "saved state in a variable": (
        "no dict literal",
        [("tools.save_on_master({", "s = dict({"), ("}, path)\n", "})\n            tools.save_on_master(s, path)\n")],
    ),
    "one-line dict": ("over several lines", [(SAVE, '        tools.save_on_master({"net": model}, "p")\n')]),
    "empty dict": ("over several lines", [(SAVE, '        tools.save_on_master({\n}, "p")\n')]),
    "commas first in the dict": (
        "over several lines",
        [(SAVE, '        tools.save_on_master({"net": model\n            , "at": epoch\n            }, 1)\n')],
    ),
    "saving twice": ("found 2 places", [(SAVE, SAVE + SAVE)]),
    "saving before training": ("`save`", [(SAVE, ""), (IN_LOOP, IN_LOOP + SAVE)]),
    "saving elsewhere": ("`save`", [("save_on_master", "write_down")]),
    "the hook's name in use": ("unused", [(AFTER_RESUME, f"{AFTER_RESUME}    reweight_hook = 1\n")]),
    "the plug-in imported by hand": ("unused", [("import json\n", "import json\nimport vlltr_plugin as v\n")]),
}


@pytest.mark.parametrize("name", FITTING)
def test_modified_host_is_patched_runs_right_and_is_restored(name, make_checkout):
    original = rewrite(make_checkout() / "main.py", *FITTING[name]).read_bytes()
    result = with_lines(original, RECIPE).after
    assert len(result.splitlines()) == len(original.splitlines()) + 6
    assert without_lines(result, RECIPE) == original
    events, space = run_host(result, found={"at": 0}, last=3)
    parts = {"model": "parallel net", "dataset": ["a", "b"], "sampler": "weighted", "mixup": "mixer"}
    assert events == [
        ("attach", {**parts, "criterion": ("distillation", "hard")}),
        ("load", {"at": 0}),
        *[("begin", 1), ("end", 1)],
        *[("begin", 2), ("end", 2)],
    ]
    assert [state["reweight"] for _, state in space["kept"]] == [4, 6]
    assert all({"net", "at", "args"} < state.keys() for _, state in space["kept"])
    assert all('"reweight_seconds": 0.5' in line for line in space["log"])


@pytest.mark.parametrize("name", REFUSED)
def test_host_without_a_safe_place_is_refused_with_file_reason_and_lines(name, make_checkout):
    reason, pairs = REFUSED[name]
    assert_refused(rewrite(make_checkout() / "main.py", *pairs).parent, "vl-ltr", reason)


def test_main_inside_another_function_is_refused(host, make_checkout):
    start, end = host.index("def main"), host.index("\n\nif __name__")
    inner = "".join(f"    {line}\n" for line in host[start:end].splitlines())
    assert_refused(make_checkout(f"{host[:start]}def outer():\n{inner}{host[end:]}"), "vl-ltr", "function `main`")


def test_all_missing_places_are_named_at_once(host, make_checkout):
    root = make_checkout(host.replace("checkpoint is not None", "checkpoint").replace("save_on_master", "save"))
    assert_refused(root, "vl-ltr", f"expected {PLACES['load']}; anchor `save`: found no place")
