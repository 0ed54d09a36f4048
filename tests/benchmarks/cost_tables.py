"""Tables of the costs of a whole step and of the fast head (see `published.py`)."""

from common import Line, lines_of, table

VARIANTS = {
    "stock": "stock",
    "class volume": "class volume",
    "fast head": "the same, `fast_head`",
    "fast head and tower": "the same, `fast_tower` too",
}
TOWERS = {"frozen": "frozen tower (ImageNet-LT, Places-LT)", "trained": "trained tower"}


def ranged(spread: Line, digits: int, low: str = "low", high: str = "high") -> str:
    """Median and range."""
    return f"{spread['median']:.{digits}f} ({spread[low]:.{digits}f} to {spread[high]:.{digits}f})"


def whole_step() -> str:
    rows = []
    for line in lines_of("whole_step"):
        host = {"vl_ltr": "VL-LTR", "lift": "LIFT"}[line["host"]]
        steps = line["step s"]
        parts = [""] * 3
        if line["variant"] != "stock":
            parts = [f"{line[f'{part} ms']['median']:.2g}" for part in ("criterion", "statistics")]
            parts.append(f"{line['statistics, % of the step']['median']:.2g}")
        of_stock = f"{line['step / stock']:.2f}"
        rows.append([host, VARIANTS[line["variant"]], steps["steps"], ranged(steps, 2), of_stock, *parts])
    header = "| host | run | steps | a step, s | of stock's | criterion, ms | of which statistics, ms |"
    return table(f"{header} statistics, % of the step |", rows)


def head_time() -> str:
    rows = []
    for line in (line for line in lines_of("fast_head") if line["what"] == "head time"):
        seconds = f"{line['stock cpu s']['median']:.2f}", f"{line['fast cpu s']['median']:.2g}"
        ratios = (ranged(line[f"stock / fast, {kind}"], 1, "min", "max") for kind in ("cpu", "clock"))
        rows.append([TOWERS[line["tower"]], *seconds, *ratios])
    return table("| the image features | stock, CPU s | fast, CPU s | ratio, CPU time | ratio, clock |", rows)


def head_memory() -> str:
    line = next(line for line in lines_of("fast_head") if line["what"] == "head memory")
    stock, fast = line["stock MiB"]["median"], ranged(line["fast MiB"], 0, "min", "max")
    large = [f"{line[f'{kind} GiB at C = 8142, in proportion']:.1f} GiB" for kind in ("stock", "fast")]
    rows = [
        [
            f"C = {line['classes']}, B = {line['batch']}",
            f"{stock:.0f} MiB",
            fast.replace(" (", " MiB ("),
            ranged(line["stock / fast"], 1, "min", "max"),
        ],
        ["in proportion at C = 8142", *large, ""],
    ]
    return table("| peak memory of the head | stock | fast | ratio |", rows)
