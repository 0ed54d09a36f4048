"""Heads on frozen features, R replicas in one program: every parameter is `[R, ...]`, the features are shared."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = dict[str, Tensor]


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


def _normal(generator: torch.Generator, rows: int, columns: int) -> Tensor:
    return torch.randn(1, rows, columns, generator=generator) / math.sqrt(columns)


def _products(features: Tensor, weight: Tensor) -> Tensor:
    """Features `[B, D]` times weights `[R, K, D]`: `[B, R, K]`, in one matrix product."""
    return (features @ weight.flatten(0, 1).T).view(len(features), *weight.shape[:2])


class Linear:
    """z = W x + b."""

    statistics = 0

    def initial(self, dim: int, num_classes: int, seed: int) -> Parameters:
        generator = torch.Generator().manual_seed(seed)
        return {"weight": _normal(generator, num_classes, dim) / 10, "bias": torch.zeros(1, num_classes)}

    def outputs(self, parameters: Parameters, features: Tensor) -> tuple[Tensor, ...]:
        return (_products(features, parameters["weight"]) + parameters["bias"],)


class Cosine:
    """z = s cos(w, x), s learned."""

    statistics = 0
    scale = 16.0

    def initial(self, dim: int, num_classes: int, seed: int) -> Parameters:
        generator = torch.Generator().manual_seed(seed)
        return {"weight": _normal(generator, num_classes, dim), "log_scale": torch.full((1,), math.log(self.scale))}

    def outputs(self, parameters: Parameters, features: Tensor) -> tuple[Tensor, ...]:
        cosines = _products(F.normalize(features, dim=1), F.normalize(parameters["weight"], dim=2))
        return (cosines * parameters["log_scale"].exp()[:, None],)


@dataclass
class ImageText:
    """z = s cos(P x, t), t the mean of a class's sentences; P and s learned."""

    sentences: Tensor  # unit embeddings, [C, S, T]
    statistics = 0
    scale = 16.0

    def initial(self, dim: int, num_classes: int, seed: int) -> Parameters:
        generator = torch.Generator().manual_seed(seed)
        return {
            "projection": _normal(generator, self.sentences.shape[2], dim),
            "log_scale": torch.full((1,), math.log(self.scale)),
        }

    def outputs(self, parameters: Parameters, features: Tensor) -> tuple[Tensor, ...]:
        images = F.normalize(_products(features, parameters["projection"]), dim=2)
        classes = F.normalize(self.sentences.mean(dim=1), dim=1)
        return (images @ classes.T * parameters["log_scale"].exp()[:, None],)


@dataclass
class LanguageGuided:
    """VL-LTR's second stage: a two-layer head on the image embedding, and cosines with attended sentences.

    Equals `Block` of the checkout's `models/finetune.py` (`op_type="two_branch"`, one attention head) at its initial
    attention, which the host trains at a learning rate of 1e-6 only and which is fixed here. The embedding of an
    image is P x with P from `frozen_tower_sentences.aligned`, fixed like the host's visual tower or, with
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
        generator = torch.Generator().manual_seed(seed)
        width = self.sentences.shape[2]
        parameters = {
            "weight1": torch.randn(1, 4 * width, width, generator=generator) * 0.02,
            "bias1": torch.zeros(1, 4 * width),
            "weight2": torch.randn(1, num_classes, 4 * width, generator=generator) * 0.02,
            "bias2": torch.zeros(1, num_classes),
        }
        return {**parameters, "projection": self.projection[None].clone()} if self.trains_projection else parameters

    def outputs(self, parameters: Parameters, features: Tensor) -> tuple[Tensor, ...]:
        """Visual logits and image-text logits."""
        replicas = len(parameters["weight1"])
        projection = parameters.get("projection", self.projection[None])
        images = _products(features, projection)
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
