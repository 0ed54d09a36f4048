# Places-LT, ViT-B/16.
# Effective number of samples (Cui et al.), normalised as class volume is.
_base_ = "../placeslt/finetune/places_finetune_vit16.py"

cfg = dict(
    reweight=dict(type="effective_number", beta=0.9999, start_epoch=1),
)
