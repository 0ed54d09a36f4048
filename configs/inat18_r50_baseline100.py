# iNaturalist 2018, ResNet-50, 100 epochs as in the paper (upstream: 360).
# The baseline.
_base_ = "../inat/finetune/inat_finetune_r50.py"

cfg = dict(epochs=100)
