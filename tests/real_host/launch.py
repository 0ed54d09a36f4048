"""Runs the `main.py` of the current folder with small towers and a seeded `random`: for tests on the CPU.

    python launch.py [calls.pt] --config configs/... --device cpu ...

The host's files stay as they are: only the numbers given to its `LGR` model differ. What the criterion was called with
in training is saved in `calls.pt`.
"""

import os
import random
import runpy
import sys
from pathlib import Path
from typing import Any

import torch

import vlltr_plugin.compat  # noqa: F401  (before torchvision, timm and the host)
from vlltr_plugin.compat.runtime import trust_argparse_namespace

EMBED_DIM = 64
RESNET = {"vision_layers": (1, 1, 1, 1), "vision_width": 8}
VIT = {"vision_layers": 2, "vision_width": 64}


def shrink_towers() -> None:
    """Make the host build small models, of both stages, for images of 32 pixels."""
    from models.finetune import LGR
    from models.pretrain import CVLP

    _build_with(LGR, {})
    _build_with(CVLP, {"transformer_layers": 1, "transformer_width": 64, "transformer_heads": 1})


def _build_with(model: Any, numbers: dict[str, Any]) -> None:
    build = model.__init__

    # `__init__` is wrapped, not the class replaced: the class's own `super(LGR, self)` looks it up by name.
    def build_small(self: Any, **kwargs: Any) -> None:
        tower = VIT if isinstance(kwargs["vision_layers"], int) else RESNET
        build(self, **{**kwargs, **tower, **numbers, "embed_dim": EMBED_DIM, "image_resolution": 32})

    model.__init__ = build_small


def save_towers(parts: dict[str, Any], *, send: Any, path: str) -> None:
    """A task for `open_host`: gives a stage-one checkpoint the model's image tower."""
    trust_argparse_namespace()
    saved = torch.load(path, weights_only=True)
    state = parts["model"].state_dict()
    saved["model"] = {key: value for key, value in state.items() if key.startswith(("visual", "logit_scale"))}
    torch.save(saved, path)


@torch.no_grad()
def teach(parts: dict[str, Any], *, send: Any, path: str) -> None:
    """A task for `open_host`: changes a checkpoint so that its predictions vary and are often right."""
    import datasets  # the host's

    trust_argparse_namespace()
    saved = torch.load(path, weights_only=True)
    model, state, args = parts["model"], saved["model"], parts["args"]
    model.load_state_dict(state)
    model.eval()
    images, labels = zip(*datasets.build_dataset("test" if args.test else "val", args)[0], strict=True)
    features = model.encode_image(torch.stack(images))
    torch.manual_seed(0)
    labels, centre = torch.tensor(labels), features.mean(dim=0)
    present, features = labels.unique(), features - centre
    state["visual.attnpool.c_proj.bias"] -= centre
    state["text_embeddings"][:] = 1.0
    for label in present:
        state["text_embeddings"][label] = features[labels == label].mean(dim=0)
    state["text_block.visual_fc.0.weight"] *= 100 / features.std()
    state["text_block.visual_fc.2.weight"].normal_(std=0.1)
    state["text_block.visual_fc.2.bias"][present] += 20.0
    torch.save(saved, path)


def record_criterion() -> list[Any]:
    """A list that will hold the calls in training of the criterion that the host will build."""
    sys.path.append(str(Path(__file__).parents[1]))
    import losses  # the host's
    from host_steps import record_calls

    recorded: list[Any] = []
    build = losses.DistillationLoss.__init__

    def build_recorded(self: torch.nn.Module, *args: object) -> None:
        build(self, *args)
        recorded.append(record_calls(self))

    losses.DistillationLoss.__init__ = build_recorded
    return recorded


if __name__ == "__main__":
    record = sys.argv.pop(1) if sys.argv[1].endswith(".pt") else None
    sys.path[0] = os.getcwd()
    sys.argv[0] = "main.py"
    random.seed(int(os.environ.get("RANK", "0")))
    recorded = record_criterion() if record else []
    if "class LGR(" in Path("models/finetune.py").read_text():  # the stand-in's models are small
        shrink_towers()
    runpy.run_path("main.py", run_name="__main__")
    if record:
        (calls,) = recorded
        torch.save([tuple(call) for call in calls], record)
