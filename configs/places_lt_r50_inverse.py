# Places-LT, ResNet-50.
# Inverse frequency, normalised as class volume is: what is left of it when all radii are equal.
_base_ = "../placeslt/finetune/places_finetune_r50.py"

cfg = dict(
    reweight=dict(type="inverse", start_epoch=1),
)
