"""The same class weights as margins of the logits in the loss, instead of weights of it."""

_base_ = ["./digits_baseline.py"]

cfg = dict(  # noqa: C408
    reweight=dict(type="class_volume", form="logit_adjustment"),  # noqa: C408
)
