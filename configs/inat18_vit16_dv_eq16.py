# iNaturalist 2018, ViT-B/16, 100 epochs as in the paper (upstream: 360).
# Class volume (DV) by the letter of Eq. 6 and 16 of Zheng and Ng: counts and E(alpha) of the data set.
_base_ = "../inat/finetune/inat_finetune_vit16.py"

cfg = dict(
    epochs=100,
    reweight=dict(type="class_volume", counts="dataset", normalize="dataset"),
)
