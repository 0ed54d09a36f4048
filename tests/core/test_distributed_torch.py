"""torch's sharded training and checkpoints, which write into buffers: the run and its state are those of one GPU."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from epochs import COUNTS, normal, train
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision

from vlltr_plugin import ClassVolume, EffectiveNumber, InverseFrequency, InverseSqrtFrequency, ReweightedLoss

LARGE = [70_000, 1281, 107]  # the first is infinite in half, the second no number of bfloat16
LABELS = torch.arange(60) % 3


@pytest.fixture
def one_rank(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Model(nn.Module):
    def __init__(self, weighting):
        super().__init__()
        self.layer, self.criterion = nn.Linear(4, 3), ReweightedLoss(weighting)
        nn.init.eye_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, rows, labels):
        return self.criterion(self.layer(rows), labels)


def losses_and_weights(model, criterion, epochs=3):
    found = []
    for epoch in range(epochs):
        loss = model(normal(60, 4, seed=epoch) * (1.0 + LABELS[:, None]), LABELS)
        loss.backward()
        found.append([loss.item(), *criterion.weighting.weights.tolist()])
        criterion.end_epoch()
    return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("make", [ClassVolume, InverseFrequency, InverseSqrtFrequency, EffectiveNumber])
def test_fsdp_with_buffers_of_low_precision_trains_and_saves_as_without(one_rank, make, dtype):
    plain, inner = Model(make(LARGE)), Model(make(LARGE))
    sharded = FullyShardedDataParallel(
        inner, mixed_precision=MixedPrecision(buffer_dtype=dtype), device_id=torch.device("cpu")
    )
    assert losses_and_weights(sharded, inner.criterion) == losses_and_weights(plain, plain.criterion)
    saved, loaded = sharded.state_dict(), Model(make(LARGE)).criterion
    loaded.load_state_dict({name.removeprefix("criterion."): saved[name] for name in saved if "weighting" in name})
    torch.testing.assert_close(loaded.state_dict(), plain.criterion.state_dict(), rtol=0, atol=0)


def test_a_loader_that_writes_into_the_state_dict_is_checked_like_any_other(tmp_path):
    saved = ReweightedLoss(InverseFrequency(COUNTS))
    dcp.save(saved.state_dict(), checkpoint_id=tmp_path)
    other = ReweightedLoss(InverseFrequency(COUNTS, draws=[34, 34, 34]))
    found = other.state_dict()
    dcp.load(found, checkpoint_id=tmp_path)
    with pytest.raises(ValueError, match="same expected draws"):
        other.load_state_dict(found)


@pytest.mark.parametrize("make", [ClassVolume, InverseSqrtFrequency])
def test_a_loader_that_writes_into_the_state_dict_resumes_to_the_last_bit(tmp_path, make):
    whole, resumed = (ReweightedLoss(make(COUNTS, draws=[5, 4, 3])) for _ in range(2))
    for epoch in range(2):
        train(whole, epoch)
        whole.end_epoch()
    dcp.save(whole.state_dict(), checkpoint_id=tmp_path)
    found = resumed.state_dict()
    dcp.load(found, checkpoint_id=tmp_path)
    resumed.load_state_dict(copy.copy(found))
    for criterion in (whole, resumed):
        train(criterion, 2)
    assert torch.equal(resumed.in_force(), whole.in_force())
    for criterion in (whole, resumed):
        criterion.end_epoch(2)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
