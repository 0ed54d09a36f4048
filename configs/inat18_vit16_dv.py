# iNaturalist 2018, ViT-B/16, 100 epochs as in the paper (upstream: 360).
# Class volume (DV), normalised over the draws of the run's own sampler: our defaults.
_base_ = "../inat/finetune/inat_finetune_vit16.py"

cfg = dict(
    epochs=100,
    reweight=dict(type="class_volume"),
)
