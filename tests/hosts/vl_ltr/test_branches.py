"""A model that `attach` watches can be copied and saved whole."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mini_host import MiniHost, trained
from process_groups import leave_group
from torch import nn
from torch.nn.parallel import DistributedDataParallel

NO_FORWARD = "an output of the model's last forward"


@pytest.fixture
def host() -> MiniHost:
    return trained({"type": "class_volume"}, epochs=1)


def test_a_model_saved_whole_loads_without_the_plugin_and_without_its_hook(host: MiniHost) -> None:
    outputs = host.model(host.dataset.data)  # held, so that the hook has something to hold on to
    file = io.BytesIO()
    torch.save(host.model, file)
    assert b"vlltr_plugin" not in file.getvalue()
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert not loaded._forward_hooks
    for model in (loaded, pickle.loads(pickle.dumps(loaded))):
        assert torch.equal(model(host.dataset.data)[1], outputs[1])


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy])
def test_a_copy_as_an_ema_makes_has_hooks_of_others_alone_and_does_not_disturb_the_run(
    host: MiniHost, copied: Callable[[nn.Module], nn.Module]
) -> None:
    seen: list[int] = []
    host.model.register_forward_hook(lambda *_: seen.append(1))
    ema = copied(host.model)
    x, targets = host.mixup(host.dataset.data[:8], torch.tensor(host.dataset.targets[:8]))
    outputs = host.model(x)
    ema(host.dataset.data)
    ema.two_branch = False
    ema(host.dataset.data)  # not even with another number of outputs
    assert torch.isfinite(host.criterion(x, outputs[0], targets) + host.criterion(x, outputs[1], targets))
    assert (len(ema._forward_hooks), len(host.model._forward_hooks), len(seen)) == (1, 2, 3)
    host.epoch(1)


def test_a_criterion_can_be_copied_and_pickled_and_wants_a_forward_first(host: MiniHost) -> None:
    x, labels = host.dataset.data[:8], torch.tensor(host.dataset.targets[:8])
    outputs = host.model(x)
    for criterion in (copy.deepcopy(host.criterion), trained({"type": "class_volume"}).criterion):
        with pytest.raises(ValueError, match=NO_FORWARD):
            criterion(x, outputs[0], labels)
    pickle.dumps(host.criterion.base_criterion._watch)


def test_ddp_s_own_state_is_kept(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        host = MiniHost({"type": "class_volume"})
        host.model = DistributedDataParallel(host.model)
        host.attach()
        state = host.model.__getstate__()
        assert "reducer" not in state  # DDP leaves it out, and what a process alone can use
        assert not state["_forward_hooks"]
        host.epoch(0)
    finally:
        leave_group()
