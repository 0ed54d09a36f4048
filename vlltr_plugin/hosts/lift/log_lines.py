"""The lines of LIFT's printed text, taken one by one into what is known of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vlltr_plugin.runs.log import Line

CONFIG, CONFIG_END = "** Config **", "************"
BATCH_BEGINS = re.compile(r"epoch \[\d+/\d+\] batch \[")
OURS_BEGINS = "[vlltr-plugin] "

_NUMBER = r"([-+.\deE]+|nan|inf)"
_BATCH = re.compile(rf"epoch \[(\d+)/\d+\] batch \[(\d+)/(\d+)\](?: time \S+ \({_NUMBER}\))?.*? loss {_NUMBER} ")
_OURS = re.compile(r"\[vlltr-plugin\] epoch \[(\d+)/\d+\] (.*)")
_SPLIT = re.compile(r"Evaluate on the (\w+) set")
_ELAPSED = re.compile(r"Time elapsed: ((?:\d+ days?, )?)(\d+):(\d\d):(\d\d)")
_DECIMAL_COMMA = re.compile(r"(?:epoch \[.* (?:loss|time)|\* .*:|\[vlltr-plugin\] epoch .*) \d+,\d+[ %]")
_RESULTS = (
    ("overall", re.compile(rf"\* (?:overall )?accuracy: {_NUMBER}%", re.IGNORECASE)),
    ("macro", re.compile(rf"\* (?:average|mean class accuracy): {_NUMBER}%", re.IGNORECASE)),
    ("harmonic", re.compile(rf"\* hmean_acc: {_NUMBER}%")),
    ("many", re.compile(rf"\* many: {_NUMBER}%", re.IGNORECASE)),
    ("medium", re.compile(rf"\bmed: {_NUMBER}%", re.IGNORECASE)),
    ("few", re.compile(rf"\bfew: {_NUMBER}%", re.IGNORECASE)),
)
"""The numbers of a result, in LIFT's words and in LIFT+'s, by their names in our reports."""


@dataclass
class Reading:
    """A run while its lines are read.

    Attributes:
        line: where it begins in the text, from 1.
        config: lines of the printed config.
        losses: printed losses of each epoch, from 0.
        ours: the plug-in's numbers of each epoch.
        attached: whether the plug-in printed a line.
        clock: batches and seconds from the start to the last printed batch of each epoch, by the running mean.
        batches: batches of an epoch.
        results: results of each epoch after which one was printed; -1 before all. Each begins with its accuracy:
            derivatives print numbers of other kinds and the best epoch's again in the same words, before and behind it.
        class_accuracy: of the last result.
        seconds: the host's time of the training, printed when it is over.
        warnings: lines that were left out.
        commas: numbers of the lines that were left out for a decimal comma.
        on_test_set: whether the results to come are on the test set; `test_train True` gives some of the training set.
    """

    line: int = 1
    config: list[str] = field(default_factory=list)
    losses: dict[int, list[float]] = field(default_factory=dict)
    ours: dict[int, Line] = field(default_factory=dict)
    attached: bool = False
    clock: dict[int, tuple[int, float]] = field(default_factory=dict)
    batches: int = 0
    results: dict[int, Line] = field(default_factory=dict)
    class_accuracy: tuple[float, ...] = ()
    seconds: float | None = None
    warnings: list[str] = field(default_factory=list)
    commas: list[int] = field(default_factory=list)
    on_test_set: bool = True
    _in_config: bool = False
    _classes: str | None = None  # the accuracies of the classes so far, over several lines

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return bool(self.losses) and (self.seconds is not None or max(self.losses) in self.results)

    def take(self, line: str, where: str, number: int) -> None:
        """Takes a line of the text."""
        text = line.rstrip("\r\n")
        speaks = BATCH_BEGINS.match(text) or text.startswith(OURS_BEGINS)
        self.attached |= text.startswith(OURS_BEGINS)
        if text in (CONFIG, CONFIG_END):
            self._in_config = text == CONFIG
        elif self._in_config and not speaks:
            self.config.append(text)
        elif self._classes is not None or (self.on_test_set and text.startswith("* class acc: [")):
            self._take_class_accuracy(text, where)
        elif text == line and _OURS.match(text):  # without an end: its last number may be half a one
            self.warnings.append(f"{where}: left out what a killed run wrote only half")
        elif _DECIMAL_COMMA.match(text):
            self.commas.append(number)
        else:
            self._in_config = False
            try:
                self._take_whole(text, where)
            except ValueError as error:
                self.warnings.append(f"{where}: left out, damaged ({error})")

    def _take_whole(self, text: str, where: str) -> None:
        if match := _BATCH.match(text):
            epoch, number, of = int(match[1]) - 1, int(match[2]), int(match[3])
            loss, seconds = float(match[5]), float(match[4] or 0)
            if epoch < max(self.losses, default=-1):
                self._begin_again(epoch, where)
            self.losses.setdefault(epoch, []).append(loss)
            if match[4]:  # UPT prints no times
                self.clock[epoch] = (epoch * of + number, (epoch * of + number) * seconds)
                self.batches = of
        elif match := _OURS.match(text):
            words = match[2].split()
            pairs = zip(words[::2], words[1::2], strict=False)
            self.ours[int(match[1]) - 1] = {name: float(value) for name, value in pairs}
        elif match := _ELAPSED.match(text):
            days = int(match[1].split()[0]) if match[1] else 0
            self.seconds = 86400.0 * days + 3600.0 * int(match[2]) + 60.0 * int(match[3]) + float(match[4])
        elif match := _SPLIT.match(text):
            self.on_test_set = match[1] == "test"
        elif text.startswith("* ") and self.on_test_set:
            found = {key: float(match[1]) for key, pattern in _RESULTS if (match := pattern.search(text))}
            epoch = max(self.losses, default=-1)
            if "overall" in found:
                self.results[epoch] = found
            elif epoch in self.results:
                self.results[epoch] = found | self.results[epoch]

    def _begin_again(self, epoch: int, where: str) -> None:
        """Drops what was read from an epoch on, which is trained again."""
        self.warnings.append(f"{where}: training went back to epoch {epoch + 1}; what came of it before is left out")
        for numbers in (self.losses, self.ours, self.clock, self.results):
            for later in [other for other in numbers if other >= epoch]:
                del numbers[later]
        self.seconds, self.class_accuracy = None, ()

    def _take_class_accuracy(self, text: str, where: str) -> None:
        """The printed accuracies of the classes; none where numpy has left some out (more than 1000 classes)."""
        self._classes = (self._classes or "") + text
        if "]" not in text:
            return
        inside, self._classes = self._classes, None
        try:
            self.class_accuracy = tuple(map(float, inside[inside.index("[") + 1 : inside.index("]")].split()))
        except ValueError:  # "...", or damaged
            self.class_accuracy = ()
