"""What class counts and draws may be; only the ratios of draws matter."""

import collections
import copy
from array import array
from fractions import Fraction

import numpy as np
import pytest
import torch
from oracles import observed

from vlltr_plugin import (
    ClassVolume,
    EffectiveNumber,
    InverseFrequency,
    InverseSqrtFrequency,
    Uniform,
    build_weighting,
)
from vlltr_plugin.core.frequency import FrequencyWeighting
from vlltr_plugin.core.registry import WEIGHTINGS

COUNTS = [50, 40, 3]


class Table:
    """As pandas' Series: an array with an index of its own, often not in the order of the labels."""

    def __array__(self, dtype=None, copy=None):
        return np.array(COUNTS, dtype)

    def __len__(self):
        return 3

    def __getitem__(self, key):
        return dict(zip((2, 0, 1), COUNTS, strict=True))[key]


NO_COUNTS = {
    "dict": dict(enumerate(COUNTS)),
    "Counter": collections.Counter([0, 0, 1, 2]),
    "values": dict(enumerate(COUNTS)).values(),
    "string": "503",
    "strings": ["50", "40", "3"],
    "bytes": b"503",
    "bytearray": bytearray(b"503"),
    "number": 3,
    "set": set(COUNTS),
    "generator": (n for n in COUNTS),
    "table": Table(),
    "missing one": [50, None, 3],
    "complex": [50, 40j, 3],
    "truths": [True, True, False],
    "truths among numbers": [50, True, 3],
    "tensor of truths": torch.tensor([True, True, False]),
    "complex tensor": torch.tensor([50, 40, 3j]),
    "tensor without data": torch.ones(3, device="meta"),
    "array of truths": np.array([True, True, False]),
    "array of strings": np.array(["50", "40", "3"]),
    "array of objects": np.array(COUNTS, dtype=object),
    "sparse tensor": torch.tensor(COUNTS).to_sparse(),
    "complex array": np.array([50, 40, 3j]),
    "array of dates": np.array(COUNTS, dtype="datetime64[D]"),
    "dicts in a list": [{0: 50}, {1: 40}, {2: 3}],
    "class": list,
}


@pytest.mark.parametrize("kind", NO_COUNTS)
@pytest.mark.parametrize("name", [*WEIGHTINGS])
def test_invalid_counts_are_refused_with_the_accepted_types(name, kind):
    accepted = r"to be a tensor, a numpy array or a sequence .* in the order of the labels"
    example = r"\[{0}\[k\] for k in range\(C\)\]"
    bad = NO_COUNTS[kind]
    with pytest.raises(ValueError, match=f"Expected class_counts {accepted}.*{example.format('class_counts')}"):
        build_weighting(name, bad)
    with pytest.raises(ValueError, match=f"Expected draws {accepted}.*{example.format('draws')}"):
        build_weighting(name, COUNTS, bad)


ROWS, COLUMN = [COUNTS], [[n] for n in COUNTS]
NESTED = [ROWS, COLUMN, [np.array(COUNTS)], np.array(ROWS), torch.tensor(ROWS), [], torch.ones(())]


@pytest.mark.parametrize("nested", NESTED)
def test_nested_and_empty_counts_are_refused_with_their_shape(nested):
    with pytest.raises(ValueError, match="Expected class_counts to hold one number for each class but got shape"):
        ClassVolume(nested)


ACCEPTED = {
    "list": COUNTS,
    "range": range(50, 47, -1),
    "array": np.array(COUNTS),
    "uint8": np.array(COUNTS, np.uint8),
    "float16": np.array(COUNTS, np.float16),
    "big endian": np.array(COUNTS, ">i4"),
    "strided": np.array([50, 0, 40, 0, 3, 0])[::2],
    "read only": np.broadcast_to(np.array(COUNTS), 3),
    "numpy scalars": list(np.array(COUNTS)),
    "scalar tensors": list(torch.tensor(COUNTS)),
    "mixed": [50, 40.0, np.float32(3)],
    "fractions": [Fraction(50), 40, 3],
    "half": torch.tensor(COUNTS).half(),
    "deque": collections.deque(COUNTS),
    "array module": array("i", COUNTS),
    "user list": collections.UserList(COUNTS),
    "counter in order": [collections.Counter([0] * 50 + [1] * 40 + [2] * 3)[k] for k in range(3)],
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_sequences_arrays_and_tensors_of_numbers_are_counts(kind):
    values = ACCEPTED[kind]
    expected = [float(n) for n in values]
    weighting = ClassVolume(values, draws=values)
    assert weighting.class_counts.tolist() == expected
    assert torch.equal(weighting.class_counts, weighting.draws)
    assert not weighting.class_counts.requires_grad
    weighting.class_counts.zero_()  # a copy
    assert [float(n) for n in values] == expected


class Power(FrequencyWeighting):
    """A user's own shape, which knows the numbers it is given, not only their ratios."""

    def log_shape(self, counts):
        return torch.log1p(counts) * 0.3 + counts * 1e-3


SCALES = [1e-3, 7.0, 1000.0, 1e-300, 1e300]
MAKERS = {
    "class volume": ClassVolume,
    "inverse": InverseFrequency,
    "inverse_sqrt": InverseSqrtFrequency,
    "effective number": lambda n, draws, **options: EffectiveNumber(n, 0.999, draws, **options),
    "none": Uniform,
    "own": Power,
}


@pytest.mark.parametrize("normalize", ["expected", "dataset", "mean"])
@pytest.mark.parametrize("counts", ["sampler", "dataset"])
@pytest.mark.parametrize("name", MAKERS)
def test_only_the_ratios_of_draws_matter_to_weights_and_states(name, counts, normalize):
    make, draws = MAKERS[name], torch.tensor([7.0, 6.0, 2.0]).double()
    options = {"counts": counts, "normalize": normalize, "start_epoch": 0}
    whole = observed(make(COUNTS, draws=draws, **options))
    for scale in SCALES:
        other = make(COUNTS, draws=draws * scale, **options)
        torch.testing.assert_close(other.draws, draws / 15 * 93, rtol=1e-12, atol=0)
        torch.testing.assert_close(observed(other).weights, whole.weights, rtol=1e-6, atol=0)
        for state in (whole.state_dict(), whole.plain_state()):
            loaded = make(COUNTS, draws=draws * scale, **options)
            loaded.load_state_dict(copy.deepcopy(state))
            torch.testing.assert_close(loaded.weights, whole.weights, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", MAKERS)
def test_draws_are_by_default_those_of_a_uniform_sampler(name):
    plain, scaled = (MAKERS[name](COUNTS, draws=draws) for draws in (None, [1000 * n for n in COUNTS]))
    assert torch.equal(scaled.draws, plain.draws)
    torch.testing.assert_close(scaled.weights, plain.weights, rtol=1e-6, atol=0)


@pytest.mark.parametrize("draws", [[5e-324, 1e-323], [8e307, 1.6e308]])
def test_draws_near_the_limits_of_float64_keep_their_ratios(draws):
    assert InverseFrequency([3, 3], draws=draws).draws.tolist() == [2, 4]
