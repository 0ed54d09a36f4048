"""Published results of VL-LTR without and with class volume, for users without a baseline of their own."""

from __future__ import annotations

import json
from pathlib import Path

from vlltr_plugin.hosts.host import Reference

_FILE = Path(__file__).with_name("published.json")
_BASELINE = "published VL-LTR"
_SIZES = {"IMNET_LT": (1000, 115846), "PLACES_LT": (365, 62500), "INAT": (8142, 437513)}
"""Classes and training images of the data sets."""

_ALIASES = {"inat18": "inat2018"}  # as in the names of the configs


def references() -> dict[str, Reference]:
    """The six references by name, then those of iNaturalist once more by its name in the configs."""
    content = json.loads(_FILE.read_text(encoding="utf-8"))
    found = {}
    for name, results in content["results"].items():
        settings = results.pop("settings")
        data = dict(zip(("nb_classes", "training images"), _SIZES[settings["data_set"]], strict=True))
        found[name] = Reference(name, _BASELINE, settings, results, content["source"], data)
    for alias, data_set in _ALIASES.items():
        found |= {name.replace(data_set, alias): one for name, one in found.items() if name.startswith(data_set)}
    return found
