"""Accelerate, and with it DistributedDataParallel: two processes have identical weights, those of one process."""

import os

import pytest
import torch
from integrations.three_classes import LABELS, ORDER, ROWS, linear_model, volume
from process_groups import on_two_ranks
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

accelerate = pytest.importorskip("accelerate", reason="pip install 'vlltr-plugin[integrations]'")

EPOCHS, BATCH = 3, 34  # which divides the samples, so that each rank has half of every batch


DATA = (ROWS[ORDER].double(), LABELS[ORDER])


def model_and_optimizer():
    model = linear_model(dtype=torch.float64)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def with_accelerate(folder, stops=False):
    """As the docs have it; where it `stops`, after one epoch and on from the saved state in new objects."""
    plugin = accelerate.DataLoaderConfiguration(split_batches=True)
    for part in [range(1), range(1, EPOCHS)] if stops else [range(EPOCHS)]:
        accelerator = accelerate.Accelerator(cpu=True, dataloader_config=plugin)
        model, optimizer, loader = accelerator.prepare(
            *model_and_optimizer(), DataLoader(TensorDataset(*DATA), batch_size=BATCH)
        )
        criterion = volume()
        accelerator.register_for_checkpointing(criterion)
        if part.start:
            accelerator.load_state(f"{folder}/state")
        for _ in part:
            for rows, labels in loader:
                optimizer.zero_grad()
                accelerator.backward(criterion(model(rows), labels))
                optimizer.step()
            statistics = criterion.end_epoch()
        accelerator.save_state(f"{folder}/state")
    return accelerator.unwrap_model(model).weight.detach(), criterion.weighting.weights, statistics["drawn_alpha"]


def with_torch(rank=0, world=1):
    """A loop of its own, under DDP where there are several ranks."""
    model, optimizer = model_and_optimizer()
    called = model if world == 1 else DistributedDataParallel(model)
    criterion = volume()
    rows, labels = DATA
    for _ in range(EPOCHS):
        for start in range(0, len(labels), BATCH):
            part = slice(start + rank, start + BATCH, world)
            optimizer.zero_grad()
            criterion(called(rows[part]), labels[part]).backward()
            optimizer.step()
        statistics = criterion.end_epoch()
    return model.weight.detach(), criterion.weighting.weights, statistics["drawn_alpha"]


def one_rank(rank, how, folder):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}  # asked for, and not used: the group is there
    return with_torch(rank, world=2) if how == "ddp" else with_accelerate(folder, how == "accelerate, resumed")


@pytest.fixture(scope="module")
def alone():
    """The run of one process."""
    return with_torch()


@pytest.mark.parametrize("how", ["ddp", "accelerate", "accelerate, resumed"])
def test_two_processes_have_the_weights_of_one(how, alone, tmp_path):
    first, second = on_two_ranks(one_rank, how, tmp_path)
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[1], torch.ones(3))
    torch.testing.assert_close(first[1], alone[1], rtol=1e-5, atol=0)
    torch.testing.assert_close(first[0], alone[0], rtol=1e-5, atol=1e-9)
    assert first[2] == second[2] == pytest.approx(alone[2], rel=1e-6)


def test_one_process_resumes_to_the_last_bit(tmp_path):
    whole, resumed = with_accelerate(tmp_path / "whole"), with_accelerate(tmp_path / "resumed", stops=True)
    assert torch.equal(whole[1], resumed[1])
    assert torch.equal(whole[0], resumed[0])
