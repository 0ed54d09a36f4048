"""The epochs of a run in its folder: written with the run's identity, and told apart from those of other runs."""

from pathlib import Path

from torch import Tensor

from vlltr_plugin.runs.arrays import write_arrays
from vlltr_plugin.runs.epoch_arrays import numbered_files
from vlltr_plugin.runs.run_identity import RunIdentity, new_start, newest, read_identity


class EpochWriter:
    """Writes epochs into the folder of a run, and reads which epochs there are the run's.

    Attributes:
        run: the start that writes; until its first epoch has ended, the run that it goes on from, if any.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run: RunIdentity | None = None
        self._first: int | None = None  # epoch of this start; that of the first `begin` where it is not told
        self._last: int | None = None  # epoch that ended in this start
        self._removed = False  # whether the files that this start takes the place of are gone
        self._known = set(_identities(folder).values())

    def look(self) -> set[RunIdentity]:
        """The newest runs of the folder, this one included: one, or none, or several that did not know of another."""
        self._known = set(_identities(self.folder).values())
        return newest([*self._known, self.run])

    def files_of(self, run: RunIdentity | None) -> dict[int, Path]:
        """The files of a run's epochs, in order; those that cannot be read are in it, too."""
        files, found = numbered_files(self.folder), _identities(self.folder)
        return {epoch: files[epoch] for epoch, by in found.items() if by is None or (run and run.has(epoch, by))}

    def go_on_from(self, run: RunIdentity | None, first: int | None = None) -> None:
        """Goes on from another start of a run, from the next epoch on that ends."""
        self.run, self._first, self._last = run, first, None

    def begin(self, epoch: int) -> None:
        """Before anything is written of an epoch that ended.

        Raises:
            FileExistsError: another process has written into the folder since this one has looked at it.
        """
        if self._last is None or epoch <= self._last:
            first = epoch if self._first is None or self._last is not None else self._first
            self.run, self._first = new_start(first, self.run, filter(None, self._known)), first
            self._removed = False
        self._last = epoch
        if others := [n for n, by in _identities(self.folder).items() if by not in {*self._known, self.run, None}]:
            raise FileExistsError(
                f"another process has written epoch {others[0]} there since this run began: remove its files, or give "
                "each run a folder of its own"
            )

    def remove_abandoned(self) -> None:
        """Removes the files of other starts from this one's first epoch on; needs no room on the disk.

        Raises:
            OSError: when they cannot be removed.
        """
        for epoch, path in numbered_files(self.folder).items() if not self._removed else ():
            if self._first is not None and epoch >= self._first and read_identity(path) != self.run:
                path.unlink()
        self._removed = True

    def write(self, epoch: int, arrays: dict[str, Tensor]) -> None:
        """Writes the file of an epoch, after `begin`.

        Raises:
            OSError: when it cannot be written; nothing partial is left behind.
        """
        assert self.run is not None
        write_arrays(self.folder, epoch, arrays, self.run)


def _identities(folder: Path) -> dict[int, RunIdentity | None]:
    return {epoch: read_identity(path) for epoch, path in numbered_files(folder).items()}
