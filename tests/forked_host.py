"""A host's process as a fork of the tests' own, which has imported torch and timm: it starts in no time.

`use_fork(monkeypatch)` puts it in the place of `subprocess.Popen` in `vlltr_plugin.hosts.door`.
"""

import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import vlltr_plugin.compat  # noqa: F401  # isort: skip  (before timm)
import pytest
import timm  # noqa: F401  (so that no fork has to)
import torch

from vlltr_plugin.hosts import door


class ForkedProcess:
    """What `open_host` uses of a `Popen`."""

    def __init__(self, command: list[str], *, cwd: Path, env: dict[str, str], stdout: int, stderr: IO[bytes]) -> None:
        read, write = os.pipe()
        self._pid, self._code = os.fork(), None
        if self._pid == 0:
            os.dup2(write, 1)
            os.dup2(stderr.fileno(), 2)
            self._run(command, cwd, env)
        os.close(write)
        self.stdout = os.fdopen(read, "rb")

    def _run(self, command: list[str], cwd: Path, env: dict[str, str]) -> None:
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        code: Any = 0
        try:
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(env)
            sys.dont_write_bytecode = True
            sys.argv = ["-c", *command[3:]]
            torch.set_num_threads(1)  # a forked pool of threads would wait for ever
            door.run_main()
        except SystemExit as error:
            code = error.code
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._code

    def kill(self) -> None:
        if self._code is None:
            os.kill(self._pid, signal.SIGKILL)

    def communicate(self) -> None:
        self.stdout.close()
        self.wait()


def use_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "subprocess", SimpleNamespace(Popen=ForkedProcess, PIPE=subprocess.PIPE))
