"""A model with the parts and names of VL-LTR's stage two, its head the published mathematics written straight down."""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlltr_plugin.hosts.vl_ltr.fast import speed_up

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(4))


class PlainAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 1) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, dim**-0.5
        self.norm1q, self.norm1k = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.wq, self.wk = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.attn_drop = nn.Dropout(0.0)

    def forward(self, features: Tensor, sentences: Tensor, padding: Tensor | None) -> Tensor:
        """Attended sentences [B, C, d]."""
        scores = torch.einsum("bd,csd->bcs", self.wq(self.norm1q(features)), self.wk(self.norm1k(sentences)))
        scores = scores * self.scale
        if padding is not None:
            scores = scores.masked_fill(padding, -torch.inf)
        return torch.einsum("bcs,csd->bcd", scores.softmax(dim=-1), sentences)


class PlainBlock(nn.Module):
    op_type, use_constant_norm = "two_branch", False

    def __init__(self, dim: int, num_heads: int = 1, num_classes: int = 0, v_detach: bool = False) -> None:
        super().__init__()
        self.attn, self.v_detach = PlainAttention(dim, num_heads), v_detach
        self.visual_fc = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, num_classes))

    def forward(self, qx: Tensor, kx: Tensor, key_padding_mask: Tensor | None = None, logit_scale: Any = None) -> Any:
        features = qx[:, 0]
        attended = self.attn(features, kx, key_padding_mask)
        if self.v_detach:
            attended = attended / attended.norm(dim=-1, keepdim=True).detach()
        else:
            attended = F.normalize(attended, dim=-1)
        cosine = torch.einsum("bcd,bd->bc", attended, F.normalize(features, dim=-1))
        return self.visual_fc(features), cosine * logit_scale.exp()


class Tower(nn.Module):
    """Convolutions with batch norm, one of them beside the main path, and a convolution without one."""

    input_resolution = 8

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.side = nn.Sequential(nn.AvgPool2d(1), nn.Conv2d(8, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.last = nn.Conv2d(12, dim, 3)
        self.relu = nn.ReLU(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    nn.init.uniform_(tensor, 0.5, 2)
                for tensor in (module.bias, module.running_mean):
                    nn.init.normal_(tensor, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(x))
        out += self.side(x)
        return self.last(self.relu(out)).mean(dim=(2, 3))


class PlainModel(nn.Module):
    def __init__(self, block: nn.Module, sentences: Tensor, counts: Tensor, visual: nn.Module | None = None) -> None:
        super().__init__()
        self.visual = visual or nn.Identity()
        self.text_block = block
        self.text_embeddings = nn.Parameter(sentences, requires_grad=False)
        self.text_padding_mask = torch.arange(sentences.shape[1]) >= counts[:, None]
        self.logit_scale = nn.Parameter(torch.tensor(2.66), requires_grad=False)

    def forward(self, images: Tensor) -> Any:
        self.visual.eval()
        x = self.visual(images)
        sentences = self.text_embeddings.to(x.dtype)
        return self.text_block(
            x.unsqueeze(1), sentences, key_padding_mask=self.text_padding_mask, logit_scale=self.logit_scale
        )


def build(
    block: type[nn.Module] = PlainBlock,
    classes: int = 5,
    length: int = 6,
    dim: int = 16,
    seed: int = 0,
    tower: bool = False,
    shared: float = 1.0,
    **options: Any,
) -> Any:
    """A model whose classes have 1 to `length` sentences, the first class one and the last class all.

    `shared` scales what a class's sentences have in common. With `tower`, images [B, 3, 8, 8] go in, else features.
    """
    torch.manual_seed(seed)
    head = block(dim, num_heads=1, num_classes=classes, **options)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3 if parameter.ndim == 1 else dim**-0.5)
    for norm in (head.attn.norm1q, head.attn.norm1k):
        nn.init.normal_(norm.weight, 1, 0.2)
    sentences = shared * torch.randn(classes, 1, dim) + torch.randn(classes, length, dim)
    counts = torch.randint(1, length + 1, (classes,))
    counts[0], counts[-1] = 1, length
    visual = Tower(dim).requires_grad_(False) if tower else None
    return PlainModel(head, sentences, counts, visual)


def sped_up(model: Any, **keys: Any) -> Any:
    speed_up(argparse.Namespace(**keys), model)
    return model


def assert_equal(one: Any, other: Any) -> None:
    for ours, theirs in zip(one(IMAGES), other(IMAGES), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def host_block(checkout: Path) -> type[nn.Module]:
    """The head of a real checkout, imported under a name that collides with nothing."""
    name = "vlltr_models_under_test"
    if name not in sys.modules:
        folder = checkout / "models"
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    block: type[nn.Module] = sys.modules[f"{name}.finetune"].Block
    return block
