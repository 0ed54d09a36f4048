"""A model that `attach` watches can be copied and saved whole."""

import copy
import io
import pickle

import pytest
import torch
from mini_host import MiniHost
from process_groups import leave_group
from torch.nn.parallel import DistributedDataParallel


@pytest.fixture
def host() -> MiniHost:
    host = MiniHost({"type": "class_volume"})
    host.attach()
    host.epoch(0)
    return host


def test_a_model_saved_whole_loads_without_the_plugin_and_without_its_hook(host: MiniHost) -> None:
    outputs = host.model(host.dataset.data)  # held, so that the hook has something to hold on to
    file = io.BytesIO()
    torch.save(host.model, file)
    assert b"vlltr_plugin" not in file.getvalue()
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert not loaded._forward_hooks
    assert torch.equal(loaded(host.dataset.data)[1], outputs[1])
    assert torch.equal(pickle.loads(pickle.dumps(loaded))(host.dataset.data)[1], outputs[1])


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy])
def test_a_copy_as_an_ema_makes_does_not_disturb_the_run(host: MiniHost, copied) -> None:
    ema = copied(host.model)
    assert not ema._forward_hooks
    x, labels = host.dataset.data[:8], torch.tensor(host.dataset.targets[:8])
    x, targets = host.mixup(x, labels)
    outputs = host.model(x)
    ema(host.dataset.data)
    ema.two_branch = False
    ema(host.dataset.data)  # not even with another number of outputs
    assert torch.isfinite(host.criterion(x, outputs[0], targets) + host.criterion(x, outputs[1], targets))
    assert len(host.model._forward_hooks) == 1
    host.epoch(1)


def test_hooks_of_others_are_copied(host: MiniHost) -> None:
    seen = []
    host.model.register_forward_hook(lambda *_: seen.append(1))
    copy.deepcopy(host.model)(host.dataset.data)
    assert len(seen) == 1


def test_a_criterion_can_be_copied_and_pickled(host: MiniHost) -> None:
    x, labels = host.dataset.data[:8], torch.tensor(host.dataset.targets[:8])
    outputs = host.model(x)
    twin = copy.deepcopy(host.criterion)
    with pytest.raises(ValueError, match="an output of the model's last forward"):
        twin(x, outputs[0], labels)
    pickle.dumps(host.criterion.base_criterion._watch)


def test_ddp_s_own_state_is_kept(tmp_path) -> None:
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


def test_a_criterion_called_before_any_forward_is_refused() -> None:
    host = MiniHost({"type": "class_volume"})
    host.attach()
    with pytest.raises(ValueError, match="an output of the model's last forward"):
        host.criterion(None, torch.zeros(2, 5), torch.tensor([0, 1]))
