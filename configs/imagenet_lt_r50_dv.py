# ImageNet-LT, ResNet-50.
# Class volume (DV), normalised over the draws of the run's own sampler: our defaults.
_base_ = "../imagelt/finetune/finetune_r50.py"

cfg = dict(
    reweight=dict(type="class_volume"),
)
