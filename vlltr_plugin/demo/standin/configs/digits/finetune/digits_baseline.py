"""The baseline: two branches, mixup, CutMix, and drawing by 1/sqrt(n)."""

data = dict(  # noqa: C408  (the form of the real configs)
    data_path="data/digits",
    batch_size=32,
    weight_sample=True,
    use_sqrt_freq=True,
    test=True,
)

cfg = dict(  # noqa: C408
    model="digits_lgr",
    two_branch=True,
    mixup=0.8,
    cutmix=1.0,
    smoothing=0.1,
)
