# ImageNet-LT, ResNet-50.
# Effective number of samples (Cui et al.), normalised as class volume is.
_base_ = "../imagelt/finetune/finetune_r50.py"

cfg = dict(
    reweight=dict(type="effective_number", beta=0.9999, start_epoch=1),
)
