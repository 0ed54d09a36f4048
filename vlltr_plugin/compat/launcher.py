"""Arguments that a launcher adds to the host's command line."""

import sys
from pathlib import Path

__all__ = ["accept_dashed_local_rank"]


def accept_dashed_local_rank() -> None:
    """Spell `--local-rank` as the host's parser knows it, `--local_rank`.

    `python -m torch.distributed.launch`, which the host's own script uses, passes a dash since torch 2.0, and
    the parser answers "error: unrecognized arguments: --local-rank=0". A script that speaks of `--local-rank`
    itself is left alone.
    """
    if not any(_is_dashed(argument) for argument in sys.argv[1:]) or _script_knows_the_dash():
        return
    sys.argv[1:] = [
        argument.replace("--local-rank", "--local_rank", 1) if _is_dashed(argument) else argument
        for argument in sys.argv[1:]
    ]


def _is_dashed(argument: str) -> bool:
    return argument == "--local-rank" or argument.startswith("--local-rank=")


def _script_knows_the_dash() -> bool:
    try:
        return "--local-rank" in Path(sys.argv[0]).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
