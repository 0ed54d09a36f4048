# Places-LT, ViT-B/16.
# Class volume (DV) by the letter of Eq. 6 and 16 of Zheng and Ng: counts and E(alpha) of the data set.
_base_ = "../placeslt/finetune/places_finetune_vit16.py"

cfg = dict(
    reweight=dict(type="class_volume", counts="dataset", normalize="dataset"),
)
