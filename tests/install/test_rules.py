"""Hosts that people changed: each is patched and runs right, or is refused; never a wrong insertion."""

import textwrap
from unittest import mock

import pytest
from install.small_hosts import HOST, assert_refused, rewrite, run_host

from vlltr_plugin.install import load_recipes
from vlltr_plugin.install.patcher import with_lines, without_lines

RECIPE = load_recipes()["vl-ltr"].patches[0]
PLACES = {item.name: item.place for item in RECIPE.insertions}


def piece(start, end):
    """The piece of the miniature host from one text up to another."""
    return HOST[HOST.index(start) : HOST.index(end)]


FUTURE = "from __future__ import annotations\n"
DEF_MAIN = "\n\ndef main(args):\n"
SAMPLER = piece("    if args.weighted", "    mixup_fn = None")
WHOLE_LOSS = '    print("the whole loss:", criterion)\n'
IF_CHECKPOINT = "        if checkpoint is not None:  # something to go on from\n"
LOAD = piece(IF_CHECKPOINT, " = checkpoint[")
AFTER_RESUME = "    log = []\n"
IN_LOOP = "        marks = epoch // 2\n"
TRAIN = piece("        if not args.debug", "\n        for path in")
SAVE = piece("        for path in", "        log.append")
MODEL, REST = '"net": model,\n', '"at": epoch,\n                "args": args,\n'
MAIN = piece("def main", "\n\nif __name__")
CALL, PLAIN_CALL = "teach_epoch(model, criterion, epoch, mixup_fn)", "        train_stats = "
TRY = '    try:\n        sampler_train = "weighted"\n    except KeyError:\n        '
GUARD = "        if not args.debug:\n            train"

FITTING: dict[str, list[tuple[str, str]]] = {
    "unchanged": [],
    "long future import": [(FUTURE, "from __future__ import (\n    annotations,\n)  # why\n\n# then\n")],
    "shebang and cookie": [('"""Trains', '#!/usr/bin/env python\n# coding: utf-8\n"""Trains')],
    "decorated first statement": [("import json\n", "@id\ndef first(): pass\nimport json\n")],
    "statements after the criterion": [(WHOLE_LOSS, "    extra = 1\n    if extra:\n        extra += 1\n")],
    "statements in the loop": [(IN_LOOP, f"        args.now = epoch\n{IN_LOOP}")],
    "a call on one line": [("epoch,\n                mixup_fn,\n", "epoch, mixup_fn\n")],
    "black": [("({\n", "(\n                {\n"), ("}, path)", "},\n                path,\n            )")],
    "renamed loop helper": [("teach_epoch(", "run_epoch(")],
    "save function imported by name": [
        ("tools.save_on_master({", "save_on_master({"),
        (DEF_MAIN, f"\nsave_on_master = tools.save_on_master\n{DEF_MAIN}"),
    ],
    "decorated main": [("def main(args):", "@(lambda f: f)\ndef main(args):")],
    "main with more arguments": [("def main(args):", "def main(args, *more, flag: bool = False, **rest) -> list:")],
    "main block elsewhere": [(DEF_MAIN, f"\n\nif __name__ == '__main__':\n    print('early')\n{DEF_MAIN}")],
    "sampler in try": [(SAMPLER, f"{TRY}raise\n")],
    "sampler under a constant": [(SAMPLER, '    if True:\n        sampler_train = "weighted"\n')],
    "training without the debug guard": [(TRAIN, f"{PLAIN_CALL}{CALL}\n")],
    "training in with": [(GUARD, "        with open('/dev/null'):\n            train")],
    "training in try": [(TRAIN, f"        try:\n    {PLAIN_CALL}{CALL}\n        finally:\n            pass\n")],
    "annotated statistics": [("train_stats = teach", "train_stats: dict = teach")],
    "dict that starts on the brace's line": [(f"({{\n                {MODEL}", f"({{{MODEL}")],
    "dict without trailing comma": [('"args": args,\n            }', '"args": args}')],
    "dict of unpacked parts": [(MODEL, '**{"net": model},\n')],
    "dict of nothing but unpacked parts": [(MODEL + " " * 16 + REST, '**{"net": model, "at": epoch, "args": args},\n')],
    "statistics with a second name": [("train_stats = teach", "args.stats = train_stats = teach")],
    "comment first in the dict": [("({\n", "({  # state\n                # all of it\n")],
    "names that end alike": [(DEF_MAIN, f"\n\ndef domain(args):\n    criterion = 1\n{DEF_MAIN}")],
    "loop variable in a comprehension": [(IN_LOOP, f"        args.all = [epoch for epoch in ()]\n{IN_LOOP}")],
    "criterion in a nested function": [(AFTER_RESUME, f"{AFTER_RESUME}    def other():\n        criterion = 2\n")],
    "names reused after the loop": [("    return log\n", "    model = criterion = None\n    return log\n")],
    "marker in a string": [(FUTURE, f'{FUTURE}N = """\nimport vlltr_plugin.compat  # vlltr-plugin 0.1.0\n"""\n')],
    "backslash in a comment": [(IF_CHECKPOINT, f"{IF_CHECKPOINT[:-1]}  # \\\n            # remark\n")],
}
REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "no main": ("function `main`", [("def main(", "def train("), ("    main(Box", "    train(Box")]),
    "two mains": ("found 2", [("\n\nif __name__", f"{DEF_MAIN}    pass\n\n\nif __name__")]),
    "main in a function": ("function `main`", [(MAIN, f"def outer():\n{textwrap.indent(MAIN, '    ')}")]),
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
    "sampler swallowed by try": ("`sampler_train`", [(SAMPLER, f"{TRY}pass\n")]),
    "mixup renamed": ("`mixup_fn`", [("mixup_fn", "mixer")]),
    "args renamed": ("`args`", [("def main(args):", "def main(opts):")]),
    "dataset deleted": ("`dataset_train`", [(WHOLE_LOSS, f"    del dataset_train\n{WHOLE_LOSS}    criterion = 1\n")]),
    "no checkpoint test": ("`load`", [(IF_CHECKPOINT, "        if checkpoint:\n")]),
    "two checkpoint tests": ("found 2 places", [(LOAD, f"{IF_CHECKPOINT}            pass\n{LOAD}")]),
    "checkpoint test in a loop": ("inside a loop", [("    if args.resume:\n", "    while args.resume:\n")]),
    "one-line checkpoint test": ("own line", [(LOAD, "        if checkpoint is not None: args.first")]),
    "checkpoint test continued": (
        "change the meaning",
        [(LOAD, "        if checkpoint is not None: \\\n   args.first")],
    ),
    "no epoch loop": ("`for epoch in", [("for epoch in", "for step in")]),
    "two epoch loops": ("found 2", [("    return log\n", "    for epoch in ():\n        pass\n    return log\n")]),
    "epoch loop in a block": ("`for epoch in", [("    for epoch in", "    with open('x'):\n     for epoch in")]),
    "epoch changed in the loop": ("`epoch`", [(IN_LOOP, f"        epoch += 1\n{IN_LOOP}")]),
    "no training call": ("`end_epoch`", [("train_stats = teach_epoch(", "train_stats = (")]),
    "two training calls": ("found 2 places", [(IN_LOOP, f"        train_stats = dict()\n{IN_LOOP}")]),
    "training in an inner loop": ("inside a loop", [("if not args.debug:", "for part in (1, 2):")]),
    "one-line training": ("own line", [(TRAIN, f"        if not args.debug: train_stats = {CALL}\n")]),
    "statistics replaced": ("`train_stats`", [("        log.append", "        train_stats = {}\n        log.append")]),
    "two statements on the training line": ("own line", [(TRAIN[-32:], f"{TRAIN[-32:-1]}; print()\n")]),
    "saved state in a variable": ("no dict literal", [("tools.save_on_master({", "tools.save_on_master(s := {")]),
    "one-line dict": ("over several lines", [(SAVE, '        tools.save_on_master({"net": model}, "p")\n')]),
    "empty dict": ("over several lines", [(SAVE, '        tools.save_on_master({\n}, "p")\n')]),
    "commas first": ("over several lines", [(SAVE, '        tools.save_on_master({"net": model\n  , "at": 1}, 1)\n')]),
    "saving twice": ("found 2 places", [(SAVE, SAVE + SAVE)]),
    "saving before training": ("`save`", [(SAVE, ""), (IN_LOOP, IN_LOOP + SAVE)]),
    "two places missing": (
        f"expected {PLACES['load']}; anchor `save`: found no place",
        [("checkpoint is not None", "checkpoint"), ("save_on_master", "write_down")],
    ),
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
    calls, log, states = run_host(result, found={"at": 0}, last=3)
    parts = {"model": "parallel net", "dataset": ["a", "b"], "sampler": "weighted", "mixup": "mixer"}
    hook, attached = mock.call(), mock.call(mock.ANY, criterion=("distillation", "hard"), **parts)
    epochs = [[hook.begin_epoch(epoch), hook.end_epoch(epoch), hook.checkpoint()] for epoch in (1, 2)]
    assert calls == [attached, hook.load({"at": 0}), *epochs[0], *epochs[1]]
    assert [state.keys() for state in states] == 2 * [{"net", "at", "args", "reweight"}]
    assert all('"reweight_seconds": 0.5' in line for line in log)


@pytest.mark.parametrize("name", REFUSED)
def test_host_without_a_safe_place_is_refused_with_file_reason_and_lines(name, make_checkout):
    reason, pairs = REFUSED[name]
    assert_refused(rewrite(make_checkout() / "main.py", *pairs).parent, "vl-ltr", reason)
