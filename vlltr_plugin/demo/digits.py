"""The demo's data: scikit-learn's handwritten digits made long-tailed, and embeddings of the class descriptions."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vlltr_plugin.report.pictures import require

CLASSES = 10
LARGEST, SMALLEST = 120, 3  # training images of the first and the last class
VALIDATION, TEST = 18, 36  # images of each class; the rarest digit has 174 in all
EMBEDDING_DIM = 64
VOCABULARY = 512  # buckets of the hashed bag of words


def long_tailed_counts() -> list[int]:
    """Returns the number of training images of each class: 120 down to 3, falling faster towards the tail.

    The logarithm falls with the square of the class number, which gives three many-, four medium- and three few-shot
    classes. With a plain exponential, only one class would have 100 images and count as many-shot.
    """
    position = np.arange(CLASSES) / (CLASSES - 1)
    counts = LARGEST * (SMALLEST / LARGEST) ** position**2
    return [round(float(n)) for n in counts]


def write_digits(folder: Path, seed: int = 0) -> None:
    """Writes the three splits, and the embeddings of the sentences in `folder`/descriptions.json.

    Raises:
        MissingExtraError: scikit-learn, which holds the images, is not installed.
    """
    require("sklearn", extra="demo")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int64)
    rng = np.random.default_rng(seed)
    splits: dict[str, list[npt.NDArray[np.int64]]] = {"val": [], "test": [], "train": []}
    for class_index, count in enumerate(long_tailed_counts()):
        members = rng.permutation(np.flatnonzero(labels == class_index))
        splits["val"].append(members[:VALIDATION])
        splits["test"].append(members[VALIDATION : VALIDATION + TEST])
        splits["train"].append(members[VALIDATION + TEST :][:count])
    for name, parts in splits.items():
        chosen = np.concatenate(parts)
        np.savez(folder / f"{name}.npz", images=images[chosen], labels=labels[chosen])

    described = json.loads((folder / "descriptions.json").read_text(encoding="utf-8"))
    sentences = [described[str(class_index)] for class_index in range(CLASSES)]
    embeddings = np.zeros((CLASSES, max(map(len, sentences)), EMBEDDING_DIM), dtype=np.float32)
    for class_index, of_class in enumerate(sentences):
        embeddings[class_index, : len(of_class)] = embed_sentences(of_class)
    np.save(folder / "text_embeddings.npy", embeddings)
    np.save(folder / "sentence_counts.npy", np.array([len(of_class) for of_class in sentences]))


def embed_sentences(sentences: list[str]) -> npt.NDArray[np.float32]:
    """Returns unit vectors [len(sentences), 64]: hashed bags of words under a fixed random projection.

    A stand-in for CLIP's text encoder that needs no download: sentences that share words have similar vectors.
    """
    bags = np.zeros((len(sentences), VOCABULARY))
    for row, sentence in enumerate(sentences):
        for word in re.findall(r"[a-z]+", sentence.lower()):
            bags[row, zlib.crc32(word.encode()) % VOCABULARY] += 1.0
    projection = np.random.default_rng(0).standard_normal((VOCABULARY, EMBEDDING_DIM))
    vectors = bags @ projection
    unit: npt.NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit
