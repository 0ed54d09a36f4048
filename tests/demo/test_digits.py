"""The demo's data."""

import json
from pathlib import Path

import numpy as np
import pytest

from vlltr_plugin.demo import make_standin
from vlltr_plugin.demo.digits import embed_sentences, long_tailed_counts


@pytest.fixture(scope="module")
def standin(tmp_path_factory) -> Path:
    """The stand-in checkout as the demo unpacks it; not to be changed."""
    return make_standin(tmp_path_factory.mktemp("pristine") / "standin")


def load(checkout, name):
    return np.load(checkout / "data" / "digits" / name)


def test_training_split_is_long_tailed_the_others_are_balanced_and_share_no_image(standin):
    splits = {name: load(standin, f"{name}.npz") for name in ("train", "val", "test")}
    counts, *others = [np.bincount(split["labels"]) for split in splits.values()]
    assert counts.tolist() == long_tailed_counts()
    assert (counts[0], counts[-1]) == (120, 3)
    assert (np.diff(counts) < 0).all()
    assert [(counts >= 100).sum(), ((counts > 20) & (counts < 100)).sum(), (counts <= 20).sum()] == [3, 4, 3]
    assert [other.tolist() for other in others] == [[18] * 10, [36] * 10]
    images = np.concatenate([split["images"] for split in splits.values()])
    assert 0.0 <= images.min() < images.max() <= 1.0
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_embeddings_are_unit_vectors_where_there_is_a_sentence_and_zero_elsewhere(standin):
    described = json.loads((standin / "data" / "digits" / "descriptions.json").read_text())
    counts = load(standin, "sentence_counts.npy")
    assert counts.tolist() == [len(described[str(c)]) for c in range(10)]
    lengths = np.linalg.norm(load(standin, "text_embeddings.npy"), axis=-1)
    is_sentence = np.arange(lengths.shape[1]) < counts[:, None]
    np.testing.assert_allclose(lengths, is_sentence.astype(float), atol=1e-6)


def test_sentences_that_share_words_come_out_close():
    close, other, far = embed_sentences(["one closed loop", "one open loop", "three sharp corners"])
    assert close @ other > 0.5 > close @ far


def test_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="new or empty folder"):
        make_standin(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
