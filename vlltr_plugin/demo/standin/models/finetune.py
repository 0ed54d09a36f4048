"""A small image tower with two heads: on the image alone, and on image and sentences."""

import argparse
import math
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from timm.models import register_model
from torch import Tensor, nn


class Described(Protocol):
    """What the model needs of the dataset."""

    text_embeddings: Tensor
    end_idxs: list[int]


class ImageTower(nn.Module):
    """Map images [B, 1, 8, 8] to features [B, `dim`]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.GroupNorm(4, 32),
            nn.GELU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.GroupNorm(8, 64),
            nn.GELU(),
            nn.Conv2d(64, dim, 3, stride=2, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        features: Tensor = self.layers(images)
        return features


class TextBranch(nn.Module):
    """Compare an image feature with the sentences of each class, weighed by attention.

    Args:
        text_embeddings: [C, S, D], frozen.
        sentence_counts: Sentences of each class; the rest of the S are padding.
    """

    def __init__(self, text_embeddings: Tensor, sentence_counts: list[int]) -> None:
        super().__init__()
        _, sentences, dim = text_embeddings.shape
        self.text_embeddings = nn.Parameter(text_embeddings.clone(), requires_grad=False)
        padding = torch.arange(sentences)[None, :] >= torch.tensor(sentence_counts)[:, None]
        self.padding: Tensor
        self.register_buffer("padding", padding)
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, C] for features [B, D]: scaled cosines with the attended sentences."""
        keys = self.key(self.norm(self.text_embeddings))
        scores = torch.einsum("bd,csd->bcs", self.query(x), keys) / math.sqrt(x.shape[-1])
        attention = scores.float().masked_fill(self.padding, -math.inf).softmax(dim=-1).to(x.dtype)
        attended = torch.einsum("bcs,csd->bcd", attention, self.text_embeddings.to(x.dtype))
        cosine = torch.einsum("bd,bcd->bc", F.normalize(x, dim=-1), F.normalize(attended, dim=-1))
        return cosine * self.logit_scale.exp()


class DigitsLGR(nn.Module):
    """Image tower, visual head, and (with two branches) the sentences.

    Args:
        num_classes: C.
        dataset: Gives the sentence embeddings.
        two_branch: Return (visual logits, image-text logits), else the visual logits alone.
    """

    def __init__(self, num_classes: int, dataset: Described, two_branch: bool) -> None:
        super().__init__()
        dim = dataset.text_embeddings.shape[-1]
        self.visual = ImageTower(dim)
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, num_classes))
        self.text_branch = TextBranch(dataset.text_embeddings, dataset.end_idxs) if two_branch else None

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits [B, C] of images [B, 1, 8, 8], a pair of them with two branches."""
        x = self.visual(images)
        visual: Tensor = self.head(x)
        if self.text_branch is None:
            return visual
        return visual, self.text_branch(x)


@register_model
def digits_lgr(
    pretrained: bool = False,
    *,
    num_classes: int,
    dataset: Described,
    args: argparse.Namespace,
    **kwargs: Any,
) -> DigitsLGR:
    """Build the model; timm's further keywords are of no use here."""
    return DigitsLGR(num_classes, dataset, two_branch=args.two_branch)
