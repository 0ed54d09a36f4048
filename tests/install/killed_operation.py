"""Install or uninstall in a process that is killed at its k-th change of the file system."""

import os
import pathlib
import sys

from faults.kill_switch import die

from vlltr_plugin import install as operations
from vlltr_plugin.install import config_copies

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod")


class Killer:
    """Counts what is done below a folder, and dies before the k-th."""

    def __init__(self, root, k):
        self.root, self.k, self.seen, self.armed = root, k, 0, True

    def count(self, path):
        """One more; whether it is the one to die at."""
        counts = self.armed and str(path).startswith(self.root)
        self.seen += counts
        return counts and self.seen > self.k

    def audit(self, event, arguments):
        """Before a file is opened for writing, removed, renamed, ..."""
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
        if (writes or event in CHANGES) and self.count(arguments[0]):
            die()

    def half_written(self):
        """Half-way through a file, and before what was written is on the disk."""
        real_open, real_sync = pathlib.Path.open, os.fsync

        def half(path, mode="r", *args, **kwargs):
            file = real_open(path, mode, *args, **kwargs)
            if set(mode) & set("wxa") and self.count(path):
                file.write = lambda data, write=file.write: (write(data[: len(data) // 2]), file.flush(), die())
            return file

        def sync(number):
            if self.count(self.root):
                die()
            real_sync(number)

        pathlib.Path.open, os.fsync = half, sync  # type: ignore[method-assign,assignment]


def main(operation, root, configs, k, as_user=0):
    """Installs or uninstalls, and dies before change k of the file system; prints their number when it survives."""
    config_copies.configs_dir = lambda: pathlib.Path(configs)
    if as_user:
        os.setgid(as_user)
        os.setuid(as_user)
    killer = Killer(root, k)
    sys.addaudithook(killer.audit)
    killer.half_written()
    getattr(operations, operation)(root)
    killer.armed = False
    print(killer.seen)
