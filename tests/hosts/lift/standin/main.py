import argparse
import builtins
import random
from pathlib import Path

import numpy as np
import torch
from trainer import Trainer
from utils.config import _C as cfg  # noqa: N811


def main(options: list[str], data: str | None = None) -> Trainer:
    if data:
        cfg.merge_from_file(data)
    cfg.merge_from_list(options)
    folder = Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w") as log:

        def tee(*values: object) -> None:
            builtins.print(*values)
            builtins.print(*values, file=log, flush=True)

        tee("** Config **")
        tee(cfg)
        tee("************")
        random.seed(cfg.seed)
        np.random.seed(cfg.seed)  # noqa: NPY002
        torch.manual_seed(cfg.seed)
        trainer = Trainer(cfg, tee)
        trainer.train()
    return trainer


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", "-d")
    parser.add_argument("opts", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    main(args.opts, args.data)
