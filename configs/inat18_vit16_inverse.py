# iNaturalist 2018, ViT-B/16, 100 epochs as in the paper (upstream: 360).
# Inverse frequency, normalised as class volume is: what is left of it when all radii are equal.
_base_ = "../inat/finetune/inat_finetune_vit16.py"

cfg = dict(
    epochs=100,
    reweight=dict(type="inverse", start_epoch=1),
)
