"""The trade-off between many- and few-shot accuracy under post-hoc logit adjustment, for any model's logits.

Subtracting tau times the log prior from the logits of a *trained* model moves accuracy from many- to few-shot classes
without training again (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, Eq. 9). So a re-weighted
run is an improvement only if it lies above the curve of its own baseline: at equal many-shot accuracy, not at equal
tau.

```python
from vlltr_plugin.report.tradeoff import place, trade_off

baseline = trade_off(baseline_logits, labels, counts)          # numbers at each tau: baseline.rows, baseline.csv()
run = trade_off(logits, labels, counts)
print(place(run, baseline, names=("mine", "the baseline")))    # above, on, or below its curve
```

Needs no host, no config and no checkpoint; the calibration error needs the extra `report`.
"""

from vlltr_plugin.report.tradeoff.curve import DEFAULT_TAUS, Point, TradeOff, TradeOffError
from vlltr_plugin.report.tradeoff.place import Gap, Placement, place
from vlltr_plugin.report.tradeoff.sweep import trade_off

__all__ = ["DEFAULT_TAUS", "Gap", "Placement", "Point", "TradeOff", "TradeOffError", "place", "trade_off"]
