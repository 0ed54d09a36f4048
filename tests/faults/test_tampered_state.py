"""A `reweight` state of other origin, or changed by hand: refused before anything changes, or without effect."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from mini_host import trained

import vlltr_plugin

DV = {"type": "class_volume"}
State = dict[str, Any]


@pytest.fixture(scope="module")
def saved() -> State:
    """A checkpoint after two epochs, as it comes back from a file."""
    file = io.BytesIO()
    torch.save(trained(DV, 2).hook.checkpoint(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def resumed(state: State, epoch: int = 2) -> torch.Tensor:
    """The weights in force in the next epoch."""
    hook = trained(DV).hook
    hook.load(copy.deepcopy(state))
    hook.begin_epoch(epoch)
    return hook.weightings["image_text"].weights


def weighting(state: State) -> State:
    return state["reweight"]["weightings"]["image_text"]


def settings(state: State) -> State:
    return weighting(state)["_extra_state"]["settings"]


def flip(state: State, name: str) -> None:
    weighting(state)[name] = weighting(state)[name].flip(0)


CHANGES: dict[str, tuple[str, Callable[[State], Any]]] = {
    "another class count": ("num_classes: saved 4, here 5", lambda s: settings(s).update(num_classes=4)),
    "other class counts": ("class_counts: saved", lambda s: settings(s).update(class_counts=[60, 30, 12, 5, 2])),
    "another variant": ("variant: saved 'pv', here 'dv'", lambda s: settings(s).update(variant="pv")),
    "another branch": ("branch: saved 'each', here", lambda s: s["reweight"]["settings"].update(branch="each")),
    "another type": ("type: saved 'Other', here 'ClassVolume'", lambda s: settings(s).update(type="Other")),
    "another start": ("start_epoch: saved 5, here 1", lambda s: settings(s).update(start_epoch=5)),
    "another minimum": ("min_samples: saved 30, here 2", lambda s: settings(s).update(min_samples=30)),
    "a setting of the future": ("shrinkage: saved 0.1, here None", lambda s: settings(s).update(shrinkage=0.1)),
    "a setting of the past": ("assign: saved None, here 'dominant'", lambda s: settings(s).pop("assign")),
    "all weights times 5": ("weights follow from its radii", lambda s: weighting(s)["weights"].mul_(5)),
    "one weight a little larger": ("weights follow from its radii", lambda s: weighting(s)["weights"][0].mul_(1.001)),
    "weights of 1": ("weights follow from its radii", lambda s: weighting(s)["weights"].fill_(1)),
    "weights in another order": ("weights follow from its radii", lambda s: flip(s, "weights")),
    "a radius moved": ("weights follow from its radii", lambda s: weighting(s)["log_radius64"][2].add_(0.01)),
    "radii denied": ("weights follow from its radii", lambda s: weighting(s)["_extra_state"].update(has_radii=False)),
    "before the start": ("weights follow from its radii", lambda s: weighting(s)["_extra_state"].update(epoch=0)),
    "an infinite radius": ("log_radius64 is finite", lambda s: weighting(s)["log_radius64"].fill_(-torch.inf)),
    "draws of another sampler": ("sampler", lambda s: flip(s, "draws")),
    "substituted as numbers": ("substituted is", lambda s: weighting(s).update(substituted=torch.zeros(5))),
    "a negative epoch": ("epoch", lambda s: weighting(s)["_extra_state"].update(epoch=-1)),
    "no branch at all": ("settings are missing", lambda s: s["reweight"]["weightings"].clear()),
    "an empty state": ("damaged or from other code", lambda s: s["reweight"].clear()),
    "settings that are a number": ("damaged or from other code", lambda s: s["reweight"].update(settings=3)),
    "a list": ("damaged or from other code", lambda s: s.update(reweight=[1, 2])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_state_is_refused_with_what_is_wrong_and_nothing_changes(name: str, saved: State) -> None:
    message, change = CHANGES[name]
    state = copy.deepcopy(saved)
    change(state)
    host = trained(DV)
    own = host.hook.weightings["image_text"]
    before = copy.deepcopy(own.state_dict())
    with pytest.raises(ValueError, match=message):
        host.hook.load(state)
    assert str(own.state_dict()) == str(before)


def test_a_changed_number_of_a_state_is_refused_or_without_effect(saved: State) -> None:
    expected = weighting(saved)["weights"]
    for key, value in weighting(saved).items():
        for place in range(5 if isinstance(value, torch.Tensor) else 0):
            for factor in (0.5, 1.01, 3.0):
                state = copy.deepcopy(saved)
                tampered = weighting(state)[key]
                tampered[place] = ~tampered[place] if tampered.dtype == torch.bool else factor * tampered[place]
                try:
                    found = resumed(state)
                except ValueError:
                    continue
                assert torch.equal(found, expected), (key, place, factor)


def test_the_epoch_is_the_host_s_not_the_state_s(saved: State) -> None:
    state = copy.deepcopy(saved)
    weighting(state)["_extra_state"]["epoch"] = 300
    assert torch.equal(resumed(state), weighting(saved)["weights"])


def test_a_state_without_a_form_is_one_of_loss_weights(saved: State) -> None:
    state = copy.deepcopy(saved)
    del state["reweight"]["settings"]["form"]  # as saved before there was a choice
    assert torch.equal(resumed(state), weighting(saved)["weights"])


@pytest.mark.parametrize("version", ["0.0.1", "9.9", None, 3, "x" * 500])
def test_a_state_of_another_version_is_taken_if_it_fits_else_the_version_is_named(saved: State, version: Any) -> None:
    state = copy.deepcopy(saved)
    state["reweight"]["version"] = version
    assert torch.equal(resumed(state), weighting(saved)["weights"])
    settings(state)["variant"] = "tv"
    with pytest.raises(ValueError, match="variant: saved 'tv', here 'dv'") as caught:
        resumed(state)
    known = f"version {version}"[:40] if isinstance(version, str) else "an unknown version"
    assert f"saved by {known} of vlltr-plugin, this is {vlltr_plugin.__version__}" in str(caught.value)
