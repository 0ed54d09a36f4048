"""A script of the shape of timm's train.py, written for the tests: points in the place of images, a linear model."""

import argparse
import csv
import os
import types

import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader

COUNTS = [40, 24, 12, 6]

config_parser = parser = argparse.ArgumentParser(add_help=False)
parser.add_argument("--config", default="")

parser = argparse.ArgumentParser()
for name in ("jsd-loss", "bce-loss", "bce-sum", "no-prefetcher", "naflex-loader", "amp", "split-bn"):
    parser.add_argument(f"--{name}", action="store_true")
for name in ("cutmix-minmax", "bce-target-thresh", "bce-pos-weight"):
    parser.add_argument(f"--{name}", type=float)
numbers = {"epochs": 3, "num-classes": 4, "grad-accum-steps": 1, "aug-splits": 0, "seed": 0, "lr": 0.5}
numbers["batch-size"] = 10
texts = {"resume": "", "output": "o", "data-dir": "points", "dataset": "", "model": "linear", "labels": "reader"}
texts["model-dtype"] = "float32"
for name, default in {**numbers, "smoothing": 0.1, "mixup": 0.0, "cutmix": 0.0, **texts, "device": "cpu"}.items():
    parser.add_argument(f"--{name}", type=type(default), default=default)


def _parse_args():
    config, remaining = config_parser.parse_known_args()
    if config.config:
        with open(config.config) as file:
            parser.set_defaults(**yaml.safe_load(file))
    args = parser.parse_args(remaining)
    return args, yaml.safe_dump(vars(args))


class Points(torch.utils.data.Dataset):
    """Class c around a point of its own, wider for rare classes; labels where timm or torchvision keeps them."""

    def __init__(self, counts, seed, labels):
        found = torch.tensor([c for c, n in enumerate(counts) for _ in range(n)])
        centres = torch.randn(len(counts), 8, generator=torch.Generator().manual_seed(1))
        noise = torch.randn(len(found), 8, generator=torch.Generator().manual_seed(seed))
        self.data, self._pairs = centres[found] + (0.4 + 0.2 * found[:, None]) * noise, list(enumerate(found.tolist()))
        names = {f"thing {c}": c for c in range(len(counts))}
        if labels == "reader":
            self.reader = types.SimpleNamespace(samples=self._pairs, class_to_idx=names)
        elif labels == "targets":
            self.targets = found.tolist()

    def __len__(self):
        return len(self._pairs)

    def __getitem__(self, index):
        return self.data[index], self._pairs[index][1]


class AugMixDataset(torch.utils.data.Dataset):
    """Several views of each point, as timm's."""

    def __init__(self, dataset, num_splits):
        self.dataset, self.num_splits = dataset, num_splits

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        points, target = self.dataset[index]
        return [points] + [points + 0.1 * torch.randn(8) for _ in range(self.num_splits - 1)], target


def collate(batch):
    views = zip(*(points for points, _ in batch), strict=True)
    targets = [target for _, target in batch]
    points = [torch.stack(view) for view in views]
    return torch.cat(points), torch.tensor(targets * len(points))


class Prefetcher:
    """Around a loader, as timm's; mixes pairs of a batch."""

    def __init__(self, loader, mix=None):
        self.loader, self.mix = loader, mix
        self.dataset = loader.dataset

    def __iter__(self):
        return (self.mix(*batch) if self.mix else batch for batch in self.loader)


class Binary(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.args = args

    def forward(self, output, target):
        if target.ndim == 1:
            target = smoothed(target, self.args)
        loss = nn.functional.binary_cross_entropy_with_logits(output, target, reduction="none")
        return loss.sum(1).mean() if self.args.bce_sum else loss.mean()


def smoothed(target, args):
    hard = nn.functional.one_hot(target, args.num_classes).float()
    return (1 - args.smoothing) * hard + args.smoothing / args.num_classes


def main():
    args, args_text = _parse_args()
    torch.manual_seed(args.seed)
    model = nn.Linear(8, args.num_classes, device=args.device, dtype=getattr(torch, args.model_dtype))
    if args.split_bn:
        assert args.aug_splits > 1
        model.splits = nn.ModuleList(nn.Linear(1, 1) for _ in range(args.aug_splits - 1))
    dataset_train = Points(COUNTS, 0, args.labels)

    def mix(points, target):
        share, soft = torch.rand(()), smoothed(target, args)
        return share * points + (1 - share) * points.flip(0), share * soft + (1 - share) * soft.flip(0)

    mixup_active = args.mixup > 0 or args.cutmix > 0
    options = {}
    if args.aug_splits > 1:
        dataset_train, options = AugMixDataset(dataset_train, args.aug_splits), {"collate_fn": collate}
    loader_train = DataLoader(dataset_train, args.batch_size, shuffle=True, drop_last=True, **options)
    if mixup_active or not args.no_prefetcher:
        loader_train = Prefetcher(loader_train, mix if mixup_active else None)
    loader_eval = DataLoader(Points([9] * len(COUNTS), 1, args.labels), 10)

    train_loss_fn = nn.CrossEntropyLoss(label_smoothing=0.0 if mixup_active else args.smoothing)
    if args.bce_loss:
        train_loss_fn = Binary(args)
    train_loss_fn = train_loss_fn.to(device=args.device)
    validate_loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9)

    start_epoch, best_metric = 0, None
    if args.resume:
        with torch.serialization.safe_globals([argparse.Namespace]):
            saved = torch.load(args.resume, weights_only=True)
        model.load_state_dict(saved["state_dict"])
        optimizer.load_state_dict(saved["optimizer"])
        start_epoch = saved["epoch"] + 1

    output_dir = args.output
    os.makedirs(output_dir, exist_ok=True)
    with open(os.path.join(output_dir, "args.yaml"), "w") as file:
        file.write(args_text)

    try:
        for epoch in range(start_epoch, args.epochs):
            torch.manual_seed(args.seed + epoch)
            train_metrics = train_one_epoch(model, loader_train, optimizer, train_loss_fn, args)
            eval_metrics = validate(model, loader_eval, validate_loss_fn)
            row = {"epoch": epoch, **{f"train_{k}": v for k, v in train_metrics.items()}, **eval_metrics, "lr": args.lr}
            with open(os.path.join(output_dir, "summary.csv"), "a") as file:
                writer = csv.DictWriter(file, fieldnames=row.keys())
                if best_metric is None:
                    writer.writeheader()
                writer.writerow(row)
            best_metric = max(best_metric or 0, eval_metrics["eval_top1"])
            state = {"epoch": epoch, "state_dict": model.state_dict(), "args": args}
            torch.save(
                state | {"optimizer": optimizer.state_dict()}, os.path.join(output_dir, f"checkpoint-{epoch}.pth.tar")
            )
    except KeyboardInterrupt:
        pass


def train_one_epoch(model, loader, optimizer, loss_fn, args):
    losses = []
    for step, (points, target) in enumerate(loader):
        loss = loss_fn(model(points.to(model.weight)), target.to(args.device)) / args.grad_accum_steps
        loss.backward()
        losses.append(loss.item() * args.grad_accum_steps)
        if (step + 1) % args.grad_accum_steps == 0:
            optimizer.step()
            optimizer.zero_grad()
    return {"loss": sum(losses) / len(losses), "last": losses[-1]}


def validate(model, loader, loss_fn):
    with torch.inference_mode():
        output = torch.cat([model(points.to(model.weight)).cpu() for points, _ in loader])
    target = torch.cat([target for _, target in loader])
    hits = (output.argmax(1) == target).double().mean() * 100
    return {"eval_loss": loss_fn(output, target).item(), "eval_top1": hits.item(), "eval_top5": 100.0}


if __name__ == "__main__":
    main()
