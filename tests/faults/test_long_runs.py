"""Nothing grows over the epochs but the one file of each (the long version: tests/benchmarks/long_run.py)."""

from pathlib import Path

import pytest
import torch
from benchmarks.long_run import long_run
from mini_host import trained

EPOCHS, LOOK_EVERY = 24, 6
MEGABYTE = 2**20


@pytest.mark.parametrize("mixed", [False, True])
def test_memory_and_state_are_flat(mixed: bool) -> None:
    lines = long_run(EPOCHS, 6, 365, mixed=mixed, look_every=LOOK_EVERY)
    first, warm, *_, end = (line for line in lines if "resident_bytes" in line)
    assert end["live_tensors"] == warm["live_tensors"]
    assert end["live_tensor_bytes"] == warm["live_tensor_bytes"]
    assert end["state_bytes"] == first["state_bytes"]
    assert end["resident_bytes"] < warm["resident_bytes"] + 8 * MEGABYTE  # 12 epochs' moments would be 19 MB


def test_a_run_writes_one_file_of_one_size_an_epoch(tmp_path: Path) -> None:
    host = trained({"type": "class_volume"}, output_dir=str(tmp_path))
    state = []
    for epoch in range(30):
        host.epoch(epoch, batches=2)
        saved = host.hook.checkpoint()["reweight"]["weightings"]["image_text"]
        state.append({key: value.shape for key, value in saved.items() if isinstance(value, torch.Tensor)})
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == [f"reweight/epoch_{epoch:04d}.npz" for epoch in range(30)]
    assert len({(tmp_path / file).stat().st_size for file in files}) == 1
    assert all(shapes == state[0] for shapes in state)
