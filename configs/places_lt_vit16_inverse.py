# Places-LT, ViT-B/16.
# Inverse frequency, normalised as class volume is: what is left of it when all radii are equal.
_base_ = "../placeslt/finetune/places_finetune_vit16.py"

cfg = dict(
    reweight=dict(type="inverse", start_epoch=1),
)
