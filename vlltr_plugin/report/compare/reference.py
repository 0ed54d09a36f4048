"""Published results of VL-LTR without and with class volume, for users without a baseline of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("published.json")
PUBLISHED_BASELINE = "published VL-LTR"
_ALIASES = {"inat18": "inat2018"}  # as in the names of the configs


@dataclass(frozen=True)
class Reference:
    """The published pair of results on one data set with one backbone.

    Attributes:
        name: such as `imagenet_lt/r50`.
        settings: `data_set` as the host names it, `model` (part of the host's model name), `epochs`.
        results: for each of the two methods the test accuracy in percent (`overall`, `many`, `medium`, `few`), and
            `training_seconds`.
        source: where the numbers come from.
    """

    name: str
    settings: dict[str, Any]
    results: dict[str, dict[str, float]]
    source: str

    @property
    def data_set(self) -> str:
        """The data set, as the host's `data_set` argument names it."""
        return str(self.settings["data_set"])


def reference_names() -> list[str]:
    """The six references."""
    return list(_published()["results"])


def load_reference(name: str) -> Reference:
    """Load one reference by its name; `inat18` stands for `inat2018`.

    Raises:
        ValueError: there is no such reference.
    """
    published = _published()
    data_set, slash, backbone = name.partition("/")
    canonical = _ALIASES.get(data_set, data_set) + slash + backbone
    if canonical not in published["results"]:
        raise ValueError(f"Expected a reference among {', '.join(published['results'])}, but got {name}")
    results = dict(published["results"][canonical])
    settings = results.pop("settings")
    return Reference(canonical, settings, results, published["source"])


def _published() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return content
