"""The baseline with class-volume weights; without the plug-in the key `reweight` does nothing."""

_base_ = ["./digits_baseline.py"]

cfg = dict(  # noqa: C408
    reweight=dict(type="class_volume"),  # noqa: C408
)
