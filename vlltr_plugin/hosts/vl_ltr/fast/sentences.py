"""What the language-guided head needs of its frozen sentence embeddings, computed once."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vlltr_plugin.hosts.vl_ltr.fast.snapshot import Snapshot

CLASSES_AT_ONCE = 64  # of 64 sentences x 1024: 32 MiB in float64


class SentenceStatistics(NamedTuple):
    """Functions of the sentences alone.

    Attributes:
        rstd: [C, S], the inverse standard deviation that LayerNorm divides each sentence by.
        gram: [C, S, S], the inner products of each class's sentences.
    """

    rstd: Tensor
    gram: Tensor


@torch.no_grad()
def sentence_statistics(sentences: Tensor, eps: float, dtype: torch.dtype) -> SentenceStatistics:
    """Computes them in float64, a few classes at a time."""
    count, length, _ = sentences.shape
    rstd = sentences.new_empty((count, length), dtype=dtype)
    gram = sentences.new_empty((count, length, length), dtype=dtype)
    with torch.autocast(sentences.device.type, enabled=False):
        for start in range(0, count, CLASSES_AT_ONCE):
            some = slice(start, start + CLASSES_AT_ONCE)
            chunk = sentences[some].double()
            rstd[some] = (chunk.var(dim=-1, correction=0) + eps).rsqrt()
            gram[some] = chunk @ chunk.mT
    return SentenceStatistics(rstd, gram)


class SentenceCache:
    """The statistics of a model's `text_embeddings`, computed when first needed and again when these change.

    Under autocast the host casts the embeddings to the query's type at every step; the statistics are those of the
    cast sentences, one set for each type.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._snapshot: Snapshot | None = None
        self._by_type: dict[torch.dtype, SentenceStatistics] = {}

    def statistics(self, sentences: Tensor, eps: float, dtype: torch.dtype) -> SentenceStatistics:
        """The statistics of the sentences that the model hands to its head.

        Raises:
            ValueError: when the embeddings are trained, or `sentences` are something else.
        """
        source: Tensor = self._model.text_embeddings
        if source.requires_grad:
            raise ValueError(
                "Expected frozen text_embeddings with fast_head=True but they require a gradient: "
                "freeze them, or take fast_head out of the config."
            )
        if self._snapshot is None or not self._snapshot.is_current([source]):
            self._by_type.clear()
            self._snapshot = Snapshot([source])
        known = sentences.dtype in self._by_type
        # Comparing values waits for the device: a cast copy is only compared when its statistics are new.
        same = sentences.data_ptr() == source.data_ptr() or (
            sentences.dtype != source.dtype and (known or _same_values(sentences, source))
        )
        if not same or sentences.shape != source.shape:
            raise ValueError(
                "Expected the head's sentences to be the model's text_embeddings but got other ones: "
                "take fast_head out of the config of this modified model."
            )
        if not known:
            with torch.inference_mode(False):  # what is made in inference mode could never serve training
                self._by_type[sentences.dtype] = sentence_statistics(sentences, eps, dtype)
        return self._by_type[sentences.dtype]


def _same_values(sentences: Tensor, source: Tensor) -> bool:
    """Whether `sentences` are `source` in another type, without a second copy of all of them."""
    pairs = zip(sentences.split(CLASSES_AT_ONCE), source.split(CLASSES_AT_ONCE), strict=False)
    return sentences.shape == source.shape and all(torch.equal(ours, theirs.to(ours.dtype)) for ours, theirs in pairs)
