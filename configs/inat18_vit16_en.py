# iNaturalist 2018, ViT-B/16, 100 epochs as in the paper (upstream: 360).
# Effective number of samples (Cui et al.), normalised as class volume is.
_base_ = "../inat/finetune/inat_finetune_vit16.py"

cfg = dict(
    epochs=100,
    reweight=dict(type="effective_number", beta=0.9999, start_epoch=1),
)
