"""The loss of transformers' own models of tiny random configs, against the loss that the model itself gives."""

import vlltr_plugin.compat  # noqa: F401, I001
import pytest
import torch
import torch.nn.functional as F

from vlltr_plugin import ReweightedLoss, Uniform

transformers = pytest.importorskip("transformers", reason="pip install 'vlltr-plugin[integrations]'")
pytest.importorskip("accelerate", reason="pip install 'vlltr-plugin[integrations]'")
from vlltr_plugin.integrations.huggingface import ReweightCallback  # noqa: E402

SMALL = {"num_labels": 5, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TEXT = {**SMALL, "vocab_size": 30}
MODERN = {**TEXT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
SEGMENTS = {
    "num_labels": 5,
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "hidden_sizes": [8, 8],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "num_attention_heads": [1, 1],
    "mlp_ratios": [1, 1],
    "decoder_hidden_size": 8,
    "semantic_loss_ignore_index": -100,
}
# The model, its configuration, the shapes of the inputs (of texts: tokens) and of the labels.
MODELS = {
    "tokens": ("BertForTokenClassification", TEXT, (3, 7), (3, 7)),
    "as many tokens as classes": ("BertForTokenClassification", TEXT, (3, 5), (3, 5)),
    "texts": ("BertForSequenceClassification", TEXT, (3, 7), (3,)),
    "ModernBERT": ("ModernBertForTokenClassification", MODERN, (3, 5), (3, 5)),
    "images": ("ViTForImageClassification", {**SMALL, "image_size": 32, "patch_size": 16}, (2, 3, 32, 32), (2,)),
    "segments": ("SegformerForSemanticSegmentation", SEGMENTS, (2, 3, 32, 32), (2, 32, 32)),
}


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("as_tuple", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_equal_weights_give_the_model_s_own_loss(kind, as_tuple, ignored):
    torch.manual_seed(0)
    name, options, shape, of_labels = MODELS[kind]
    model = getattr(transformers, name)
    model = model(model.config_class(**options)).eval()  # without dropout
    texts = len(shape) == 2
    inputs = {"input_ids": torch.randint(1, 30, shape)} if texts else {"pixel_values": torch.randn(shape)}
    labels = torch.randint(5, of_labels)
    if ignored and labels.ndim > 1:
        labels[:, 0] = -100
    expected = model(**inputs, labels=labels).loss
    callback = ReweightCallback(ReweightedLoss(Uniform([9] * 5), ignore_index=-100))
    found = callback.loss(model(**inputs, return_dict=not as_tuple), labels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3, 6), (4, 6, 3), (4, 3, 3), (2, 3, 4, 5), (2, 4, 5, 3), (2, 3, 3, 3)])
@pytest.mark.parametrize("soft", [False, True])
def test_the_classes_are_found_where_shapes_tell_and_tokens_have_them_last(shape, soft):
    """`[4, 3, 3]` is taken for tokens, `[2, 3, 3, 3]` for images."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    last = shape[-1] == 3 and shape != (2, 3, 3, 3)
    rows = (logits if last else logits.movedim(1, -1)).reshape(-1, 3)
    kept = shape[:-1] if last else shape[:1] + shape[2:]
    labels = torch.randint(3, kept, generator=generator)
    targets = F.one_hot(labels, 3).double() if soft else labels
    if soft and not last:
        targets = targets.movedim(-1, 1)
    expected = F.cross_entropy(rows, labels.flatten())
    found = ReweightCallback(ReweightedLoss(Uniform([9] * 3))).loss({"logits": logits}, targets)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_a_model_that_predicts_the_next_token_is_refused_unless_the_user_shifts(as_tuple):
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=5, n_positions=8, n_embd=8, n_layer=1, n_head=1)
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.randint(5, (2, 6))
    callback = ReweightCallback(ReweightedLoss(Uniform([9] * 5), ignore_index=-100))
    arguments = transformers.TrainingArguments("unused", use_cpu=True, report_to=[])
    callback.on_train_begin(arguments, transformers.TrainerState(), transformers.TrainerControl(), model=model)
    outputs = model(ids, return_dict=not as_tuple)
    with pytest.raises(ValueError, match="next token"):
        callback.loss(outputs, ids)
    shifted = callback.loss({"logits": outputs[0][:, :-1]}, ids[:, 1:])
    torch.testing.assert_close(shifted, model(ids, labels=ids).loss, rtol=1e-5, atol=1e-6)


class LastTokenForCausalLM(transformers.GPT2LMHeadModel):
    """A language model whose logits of the last token are those of a text's class."""

    def forward(self, input_ids, labels=None):
        return {"logits": super().forward(input_ids).logits[:, -1]}


def weights_after_a_step(folder, parts, **attributes):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=5, n_positions=8, n_embd=8, n_layer=1, n_head=1, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    model = LastTokenForCausalLM(config)
    for name, value in attributes.items():
        setattr(model, name, value)
    callback = ReweightCallback(ReweightedLoss(Uniform([2, 2, 2, 1, 1])))
    arguments = transformers.TrainingArguments(
        str(folder),
        per_device_train_batch_size=8 // parts,
        gradient_accumulation_steps=parts,
        max_steps=1,
        optim="sgd",
        learning_rate=0.1,
        max_grad_norm=0.0,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
    )
    texts = torch.randint(5, (8, 6), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": text, "labels": torch.tensor(k % 5)} for k, text in enumerate(texts)]
    transformers.Trainer(
        model, arguments, train_dataset=data, compute_loss_func=callback.loss, callbacks=[callback]
    ).train()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("parts", [1, 4, 8])
def test_a_language_model_as_a_classifier_takes_the_step_of_the_undivided_batch_or_is_refused(tmp_path, parts):
    """Its Trainer counts one label less in each part, as long as its loss is that of the next token."""
    expected = weights_after_a_step(tmp_path, 1, loss_type="ForSequenceClassification")
    found = weights_after_a_step(tmp_path, parts, loss_type="ForSequenceClassification")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="leaves out the first label of each part"):
        assert torch.allclose(weights_after_a_step(tmp_path, parts), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "labels", "said"),
    [({"start": 1}, torch.tensor([0, 1]), "logits"), ({"logits": torch.zeros(2, 3)}, None, "labels")],
)
def test_outputs_without_logits_and_batches_without_labels_are_refused(outputs, labels, said):
    with pytest.raises(TypeError, match=said):
        ReweightCallback(ReweightedLoss(Uniform([9] * 3))).loss(outputs, labels)
