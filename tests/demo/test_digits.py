"""The demo's data."""

import json

import numpy as np
import pytest

from vlltr_plugin.demo import make_standin
from vlltr_plugin.demo.digits import embed_sentences, long_tailed_counts


def load(checkout, name):
    return np.load(checkout / "data" / "digits" / name)


def test_counts_fall_from_120_to_3_with_classes_in_every_group():
    counts = np.array(long_tailed_counts())
    assert (counts[0], counts[-1]) == (120, 3)
    assert (np.diff(counts) < 0).all()
    assert [(counts >= 100).sum(), ((counts > 20) & (counts < 100)).sum(), (counts <= 20).sum()] == [3, 4, 3]


def test_training_split_is_long_tailed_and_the_others_are_balanced(pristine):
    labels = {name: load(pristine, f"{name}.npz")["labels"] for name in ("train", "val", "test")}
    assert np.bincount(labels["train"]).tolist() == long_tailed_counts()
    assert np.bincount(labels["val"]).tolist() == [18] * 10
    assert np.bincount(labels["test"]).tolist() == [36] * 10


def test_no_image_is_in_two_splits(pristine):
    images = np.concatenate([load(pristine, f"{name}.npz")["images"] for name in ("train", "val", "test")])
    assert 0.0 <= images.min() < images.max() <= 1.0
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_embeddings_are_unit_vectors_where_there_is_a_sentence_and_zero_elsewhere(pristine):
    described = json.loads((pristine / "data" / "digits" / "descriptions.json").read_text())
    counts = load(pristine, "sentence_counts.npy")
    assert counts.tolist() == [len(described[str(c)]) for c in range(10)]
    lengths = np.linalg.norm(load(pristine, "text_embeddings.npy"), axis=-1)
    is_sentence = np.arange(lengths.shape[1]) < counts[:, None]
    np.testing.assert_allclose(lengths, is_sentence.astype(float), atol=1e-6)


def test_sentences_that_share_words_come_out_close():
    close, other, far = embed_sentences(["one closed loop", "one open loop", "three sharp corners"])
    assert close @ other > 0.5 > close @ far


def test_same_seed_gives_the_same_files(pristine, tmp_path):
    again = make_standin(tmp_path / "again")
    for name in ("train.npz", "test.npz"):
        assert np.array_equal(load(again, name)["images"], load(pristine, name)["images"])
    assert np.array_equal(load(again, "text_embeddings.npy"), load(pristine, "text_embeddings.npy"))


def test_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="new or empty folder"):
        make_standin(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
