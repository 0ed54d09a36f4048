"""The models, registered with timm on import."""

from .finetune import digits_lgr

__all__ = ["digits_lgr"]
