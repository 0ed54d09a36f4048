"""LIFT (Shi et al., ICML 2024), its predecessor PEL, its successor LIFT+ and their derivatives.

What the inserted lines call: `config_node()` in `utils/config.py`, `attach(self)` and the hook's `end_epoch(epoch_idx)`
in `Trainer.train`. Without `reweight.type` the host runs as if they were not there.
"""

from vlltr_plugin.hosts.lift.attach import attach
from vlltr_plugin.hosts.lift.settings import config_node

__all__ = ["attach", "config_node"]
