"""Stage two with the same mathematics and less work: `fast_head=True` and `fast_tower=True` in a config."""
