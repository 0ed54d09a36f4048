# Places-LT, ViT-B/16.
# Class volume (DV), normalised over the draws of the run's own sampler: our defaults.
_base_ = "../placeslt/finetune/places_finetune_vit16.py"

cfg = dict(
    reweight=dict(type="class_volume"),
)
