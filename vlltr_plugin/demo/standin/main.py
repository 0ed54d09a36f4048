"""Train or evaluate a two-branch image-text classifier on long-tailed data."""

import argparse
import json
import time
from pathlib import Path

import models  # noqa: F401  (registers the models with timm)
import numpy as np
import torch
import utils
from datasets import build_dataset
from engine import evaluate_LT, train_one_epoch
from losses import DistillationLoss
from mixup import Mixup
from optim_factory import create_optimizer
from samplers import WeightedDistributedSampler
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.models import create_model
from timm.scheduler import create_scheduler
from timm.utils import NativeScaler
from torch import nn


def get_args_parser() -> argparse.ArgumentParser:
    """Return the parser of every option; a config sets the same names, over the command line."""
    parser = argparse.ArgumentParser("Long-tailed digits: training and evaluation", add_help=False)
    parser.add_argument("--config", required=True, help="Python file of top-level dicts")
    parser.add_argument("--epochs", default=30, type=int)
    parser.add_argument("--batch-size", default=32, type=int)
    parser.add_argument("--debug", action="store_true", help="skip training, evaluate each epoch")

    parser.add_argument("--model", default="digits_lgr", type=str)
    parser.add_argument("--two_branch", action="store_true")

    parser.add_argument("--clip-grad", default=None, type=float)
    parser.add_argument("--lr", default=2e-3, type=float)
    parser.add_argument("--text_lr", default=1e-3, type=float, help="rate of the image-text branch")
    parser.add_argument("--weight-decay", default=0.02, type=float)
    parser.add_argument("--sched", default="cosine", type=str)
    parser.add_argument("--warmup-epochs", default=0, type=int)
    parser.add_argument("--warmup-lr", default=1e-4, type=float)
    parser.add_argument("--min-lr", default=1e-5, type=float)

    parser.add_argument("--smoothing", default=0.1, type=float)
    parser.add_argument("--mixup", default=0.8, type=float)
    parser.add_argument("--cutmix", default=1.0, type=float)
    parser.add_argument("--mixup-prob", default=1.0, type=float)
    parser.add_argument("--mixup-switch-prob", default=0.5, type=float)
    parser.add_argument("--mixup-mode", default="batch", type=str)

    parser.add_argument("--data-path", default="data/digits", type=str)
    parser.add_argument("--weight_sample", action="store_true", help="draw rare classes more often")
    parser.add_argument("--use_sqrt_freq", action="store_true", help="by 1/sqrt(n) instead of 1/n")
    parser.add_argument("--num_workers", default=0, type=int)
    parser.add_argument("--pin-mem", action="store_true")

    parser.add_argument("--output_dir", default="", help="default: checkpoints/<config name>")
    parser.add_argument("--resume", default="", help="default: checkpoint.pth in the output folder")
    parser.add_argument("--start_epoch", default=0, type=int)
    parser.add_argument("--eval", action="store_true")
    parser.add_argument("--test", action="store_true", help="evaluate the test split after training")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--dist_url", default="env://")
    return parser


def main(args: argparse.Namespace) -> None:
    """Run what `args` asks for: build, resume, then evaluate or train."""
    utils.init_distributed_mode(args)
    print(args)

    device = torch.device(args.device)
    own_seed = utils.get_rank() + args.seed
    torch.manual_seed(own_seed)
    np.random.seed(own_seed)  # noqa: NPY002  (Mixup draws from numpy's global generator)

    dataset_train, args.nb_classes = build_dataset(split="train", args=args)
    dataset_val, _ = build_dataset(split="val", args=args)
    dataset_test = build_dataset(split="test", args=args)[0] if args.test else None

    if args.weight_sample:
        counts = np.bincount(dataset_train.targets, minlength=args.nb_classes)
        frequency = np.sqrt(counts) if args.use_sqrt_freq else counts.astype(float)
        sampler_train = WeightedDistributedSampler(
            dataset_train,
            weights=(1.0 / frequency[dataset_train.targets]).tolist(),
            num_replicas=utils.get_world_size(),
            rank=utils.get_rank(),
        )
    else:
        sampler_train = torch.utils.data.DistributedSampler(
            dataset_train, num_replicas=utils.get_world_size(), rank=utils.get_rank(), shuffle=True
        )

    data_loader_train = torch.utils.data.DataLoader(
        dataset_train,
        sampler=sampler_train,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        pin_memory=args.pin_mem,
        drop_last=True,
    )
    data_loader_val = utils.sequential_loader(dataset_val, args)
    data_loader_test = utils.sequential_loader(dataset_test, args) if dataset_test is not None else None

    mixup_fn = None
    if args.mixup > 0 or args.cutmix > 0:
        mixup_fn = Mixup(
            mixup_alpha=args.mixup,
            cutmix_alpha=args.cutmix,
            prob=args.mixup_prob,
            switch_prob=args.mixup_switch_prob,
            mode=args.mixup_mode,
            label_smoothing=args.smoothing,
            num_classes=args.nb_classes,
        )

    print("Model:", args.model)
    model = create_model(args.model, pretrained=False, num_classes=args.nb_classes, dataset=dataset_train, args=args)
    model.to(device)
    model_ema = None

    model_without_ddp = model
    if args.distributed:
        device_ids = [args.gpu] if device.type == "cuda" else None
        model = nn.parallel.DistributedDataParallel(model, device_ids=device_ids)
        model_without_ddp = model.module
    n_parameters = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    print(f"{n_parameters} trainable parameters")

    optimizer = create_optimizer(args, model_without_ddp)
    loss_scaler = NativeScaler()
    lr_scheduler, _ = create_scheduler(args, optimizer)

    if args.mixup > 0:
        criterion = SoftTargetCrossEntropy()
    elif args.smoothing:
        criterion = LabelSmoothingCrossEntropy(smoothing=args.smoothing)
    else:
        criterion = nn.CrossEntropyLoss()
    criterion = DistillationLoss(criterion, None, "none", 0, 0)

    output_dir = Path(args.output_dir)
    evaluated = ""
    if args.resume:
        checkpoint = None
        if Path(args.resume).is_file():
            checkpoint = torch.load(args.resume, map_location="cpu")
        else:
            print(f"No checkpoint at {args.resume}: starting anew")
        if checkpoint is not None:
            model_without_ddp.load_state_dict(checkpoint["model"], strict=False)
            evaluated = f"# epoch={checkpoint['epoch']} resume={args.resume}"
            if not args.eval and "optimizer" in checkpoint:
                optimizer.load_state_dict(checkpoint["optimizer"])
                lr_scheduler.load_state_dict(checkpoint["lr_scheduler"])
                args.start_epoch = checkpoint["epoch"] + 1
                if "scaler" in checkpoint:
                    loss_scaler.load_state_dict(checkpoint["scaler"])
            print(f"Resumed from {args.resume}, next epoch {args.start_epoch}")

    if args.eval:
        loader = data_loader_test if data_loader_test is not None else data_loader_val
        test_stats = evaluate_LT(loader, model, device, args=args, labels=dataset_train.targets)
        print(f"Accuracy on {len(loader.dataset)} images: {test_stats['acc1']:.1f}%")
        if utils.is_main_process():
            with (output_dir / "log.txt").open("a") as log:
                log.write(f"{evaluated}\n")
                log.write(json.dumps({f"test_{key}": value for key, value in test_stats.items()}) + "\n")
        return

    print(f"Training from epoch {args.start_epoch} up to {args.epochs - 1}")
    start_time = time.time()
    for epoch in range(args.start_epoch, args.epochs):
        train_stats = {}
        if not args.debug:
            if args.distributed:
                data_loader_train.sampler.set_epoch(epoch)

            train_stats = train_one_epoch(
                model,
                criterion,
                data_loader_train,
                optimizer,
                device,
                epoch,
                loss_scaler,
                args.clip_grad,
                model_ema,
                mixup_fn,
                args=args,
            )
            lr_scheduler.step(epoch)

            paths = [output_dir / "checkpoint.pth"]
            if (epoch + 1) % 10 == 0:
                paths.append(output_dir / f"checkpoint_{epoch + 1}.pth")
            for path in paths:
                utils.save_on_master(
                    {
                        "model": model_without_ddp.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "lr_scheduler": lr_scheduler.state_dict(),
                        "epoch": epoch,
                        "scaler": loss_scaler.state_dict(),
                        "args": args,
                    },
                    path,
                )

        test_stats = evaluate_LT(data_loader_val, model, device, args=args, labels=dataset_train.targets)
        print(f"Accuracy on {len(dataset_val)} validation images: {test_stats['acc1']:.1f}%")
        log_stats = {
            **{f"train_{key}": value for key, value in train_stats.items()},
            **{f"test_{key}": value for key, value in test_stats.items()},
            "epoch": epoch,
            "n_parameters": n_parameters,
        }
        if utils.is_main_process():
            with (output_dir / "log.txt").open("a") as log:
                log.write(json.dumps(log_stats) + "\n")

    if data_loader_test is not None:
        test_stats = evaluate_LT(data_loader_test, model, device, args=args, labels=dataset_train.targets)
        if utils.is_main_process():
            with (output_dir / "log.txt").open("a") as log:
                log.write(json.dumps({f"test_{key}": value for key, value in test_stats.items()}) + "\n")
    print(f"Training time {utils.clock(time.time() - start_time)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser("Long-tailed digits", parents=[get_args_parser()])
    args = parser.parse_args()
    utils.update_from_config(args)
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    main(args)
