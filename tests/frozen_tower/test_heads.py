"""Each head against its formula, written out; VL-LTR's against the checkout's own module as well."""

import math
import os
import subprocess
import sys

import pytest
import torch
from frozen_tower_heads import Cosine, Head, ImageText, LanguageGuided, Linear, picked
from torch import Tensor

CLASSES, WIDTH, DIM = 5, 8, 12


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SENTENCES = torch.nn.functional.normalize(seeded(1, CLASSES, 3, WIDTH), dim=2)
IMAGES = seeded(2, 4, DIM)


def language_guided(trains_projection: bool = False) -> LanguageGuided:
    return LanguageGuided(SENTENCES, seeded(3, WIDTH, DIM), math.log(20.0), trains_projection)


def standardised(vector: Tensor) -> Tensor:
    return (vector - vector.mean()) / (vector.var(unbiased=False) + 1e-5).sqrt()


def attended_cosine(image: Tensor, sentences: Tensor, scale: float) -> float:
    """One image and one class: softmax attention over its sentences, then the cosine."""
    scores = [float(standardised(image) @ standardised(sentence)) / math.sqrt(len(image)) for sentence in sentences]
    total = sum(math.exp(score) for score in scores)
    attended = sum((math.exp(score) / total * s for score, s in zip(scores, sentences, strict=True)), torch.zeros(1))
    return scale * float(image @ attended / image.norm() / attended.norm())


def test_the_language_guided_head_attends_and_compares() -> None:
    head = language_guided()
    parameters = picked(head.initial(DIM, CLASSES, 0), [0, 0])
    visual, image_text = head.outputs(parameters, IMAGES)
    for b, features in enumerate(IMAGES):
        image = (head.projection @ features).double()
        for c, sentences in enumerate(head.sentences.double()):
            expected = attended_cosine(image, sentences, 20.0)
            assert image_text[b, :, c].tolist() == pytest.approx([expected, expected], rel=1e-4, abs=1e-4)
        hidden = (parameters["weight1"][0].double() @ image + parameters["bias1"][0]).relu()
        expected_visual = parameters["weight2"][0].double() @ hidden + parameters["bias2"][0]
        torch.testing.assert_close(visual[b, 0].double(), expected_visual, rtol=1e-4, atol=1e-5)


def test_it_trains_the_projection_where_asked() -> None:
    head = language_guided(trains_projection=True)
    parameters = picked(head.initial(DIM, CLASSES, 0), [0])
    sum(outputs.square().sum() for outputs in head.outputs(parameters, IMAGES)).backward()
    assert parameters["projection"].grad.abs().max() > 0
    fixed = language_guided().outputs(picked(language_guided().initial(DIM, CLASSES, 0), [0]), IMAGES)
    for own, other in zip(head.outputs(parameters, IMAGES), fixed, strict=True):
        torch.testing.assert_close(own, other)


def test_the_cosine_head_ignores_lengths() -> None:
    head, images = Cosine(), IMAGES
    parameters = head.initial(DIM, CLASSES, 0)
    longer = {**parameters, "weight": 3 * parameters["weight"]}
    torch.testing.assert_close(head.outputs(longer, 5 * images), head.outputs(parameters, images))
    assert head.outputs(parameters, images)[0].abs().max() <= Cosine.scale


def test_the_image_text_head_prefers_the_class_whose_sentences_point_its_way() -> None:
    head = ImageText(SENTENCES)
    parameters = {**head.initial(WIDTH, CLASSES, 0), "projection": torch.eye(WIDTH)[None]}
    assert head.outputs(parameters, SENTENCES.mean(dim=1))[0][:, 0].argmax(dim=1).tolist() == list(range(CLASSES))


@pytest.mark.parametrize("head", [Linear(), Cosine(), ImageText(SENTENCES), language_guided(True)])
def test_replicas_do_not_touch_each_other(head: Head) -> None:
    first, second = (picked(head.initial(DIM, CLASSES, seed), [0]) for seed in (0, 1))
    both = {name: torch.cat([first[name], second[name]]) for name in first}
    for together, *apart in zip(*(head.outputs(each, IMAGES) for each in (both, first, second)), strict=True):
        torch.testing.assert_close(together, torch.cat(apart, dim=1))


COMPARE_WITH_CHECKOUT = """
import math, sys
import torch
import vlltr_plugin.compat
sys.path[:0] = sys.argv[1:]
from models.finetune import Block
from test_heads import CLASSES, DIM, IMAGES, WIDTH, language_guided, picked

head = language_guided()
parameters = picked(head.initial(DIM, CLASSES, 0), [0])
block = Block(WIDTH, 1, op_type="two_branch", num_classes=CLASSES)
with torch.no_grad():
    for linear in (block.attn.wq, block.attn.wk):
        torch.nn.init.eye_(linear.weight)  # the host's own start
    for name, index in (("1", 0), ("2", 2)):
        block.visual_fc[index].weight.copy_(parameters["weight" + name][0])
        block.visual_fc[index].bias.copy_(parameters["bias" + name][0])
    images = IMAGES @ head.projection.T
    expected = block(images[:, None], head.sentences, None, torch.tensor(head.log_scale))
for own, other in zip(head.outputs(parameters, IMAGES), expected, strict=True):
    torch.testing.assert_close(own[:, 0].detach(), other, rtol=1e-4, atol=1e-4)
print("equal")
"""


def test_the_language_guided_head_equals_the_checkouts() -> None:
    checkout = os.environ.get("VLLTR_CHECKOUT")
    if not checkout:
        pytest.skip("set VLLTR_CHECKOUT to a clone of VL-LTR")
    command = [sys.executable, "-B", "-c", COMPARE_WITH_CHECKOUT, checkout, os.path.dirname(__file__), *sys.path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip().endswith("equal"), done.stderr
