"""The control for class volume: the same weights if all volumes were equal."""

_base_ = ["./digits_baseline.py"]

cfg = dict(  # noqa: C408
    reweight=dict(type="inverse", start_epoch=1),  # noqa: C408
)
