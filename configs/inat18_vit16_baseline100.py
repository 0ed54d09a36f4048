# iNaturalist 2018, ViT-B/16, 100 epochs as in the paper (upstream: 360).
# The baseline.
_base_ = "../inat/finetune/inat_finetune_vit16.py"

cfg = dict(epochs=100)
