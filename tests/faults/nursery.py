"""A process that has imported torch, timm and the plug-in once, and forks runs that then start at once.

It reads a JSON object a line: `{"start": {...}}` is answered by a process id, `{"wait": pid}` by an exit status.
"""

import importlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import torch

import vlltr_plugin.install

sys.path.insert(0, str(Path(__file__).parent))

import kill_switch

assert vlltr_plugin.install
FOR_HOSTS = (
    "vlltr_plugin.compat",
    "torchvision",
    *(f"timm.{part}" for part in ("data", "loss", "models", "scheduler")),
)
for name in FOR_HOSTS if "--for-hosts" in sys.argv else ():
    importlib.import_module(name)


def run(job: dict[str, Any]) -> NoReturn:
    """Runs a job in the forked child: `main.py` with arguments, or a function of a module."""
    status = 1
    try:
        console = os.open(job["console"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for own, given in ((0, nothing), (1, console), (2, console)):
            os.dup2(given, own)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, "rw"[number > 0], 1) for number in range(3))
        os.chdir(job["cwd"])
        os.environ.update(job["env"])
        torch.set_num_threads(job["threads"])
        if job["kill"] is not None:
            kill_switch.arm(**job["kill"])
        if job["call"] is not None:
            module, _, function = job["call"].partition(":")
            getattr(importlib.import_module(module), function)(*job["argv"])
        else:
            sys.argv = ["main.py", *job["argv"]]
            sys.path.insert(0, job["cwd"])
            runpy.run_path("main.py", run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            pid = os.fork()
            if pid == 0:
                run(request["start"])
            answer = pid
        else:
            done, status = os.waitpid(request["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if done else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    print(json.dumps("ready"), flush=True)
    main()
