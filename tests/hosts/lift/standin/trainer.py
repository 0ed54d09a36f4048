"""A trainer with LIFT's shape: random points in the place of images, a linear model in that of CLIP."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from utils import samplers


class Points(Dataset):
    """Class c around a point of its own, wider for rare classes; `noise` stands for augmentation."""

    def __init__(self, counts, seed, noise):
        self.labels = [c for c, n in enumerate(counts) for _ in range(n)]
        self.noise, self.num_classes = noise, len(counts)
        generator = torch.Generator().manual_seed(seed)
        spread = 0.4 + 0.2 * torch.tensor(self.labels)[:, None]
        centres = torch.randn(len(counts), 8, generator=torch.Generator().manual_seed(1))
        self.data = centres[self.labels] + spread * torch.randn(len(self.labels), 8, generator=generator)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.data[index] + self.noise * torch.randn(8), self.labels[index]


class LogitAdjusted(nn.Module):
    def __init__(self, counts):
        super().__init__()
        self.shift = torch.tensor(counts, dtype=torch.float).log()

    def forward(self, output, label):
        return nn.functional.cross_entropy(output + self.shift, label)


class Linear(nn.Linear):
    def forward(self, image):
        return super().forward(image.to(self.weight.dtype))  # half precision models take what comes


class Evaluator:
    """Prints what the host's prints; a group's accuracy is the mean over its classes."""

    def __init__(self, many_idxs, med_idxs, few_idxs, say):
        self.groups, self.say = {"many": many_idxs, "med": med_idxs, "few": few_idxs}, say
        self.reset()

    def reset(self):
        self.hits, self.labels = [], []

    def process(self, output, label):
        self.hits += (output.argmax(dim=1) == label).tolist()
        self.labels += label.tolist()

    def evaluate(self):
        hits, labels = torch.tensor(self.hits).double(), torch.tensor(self.labels)
        each = torch.stack([100 * hits[labels == c].mean() for c in labels.unique()])
        self.say(f"=> result\n* total: {len(hits):,}\n* correct: {int(hits.sum())}")
        self.say(f"* accuracy: {100 * hits.mean():.1f}%")
        self.say(f"* class acc: [{' '.join(f'{value:.2f}' for value in each.tolist())}]")
        self.say("* " + "  ".join(f"{name}: {each[idxs].mean():.1f}%" for name, idxs in self.groups.items()))
        self.say(f"* average: {each.mean():.1f}%")


class Recorder:
    def __init__(self):
        self.scalars = {}

    def add_scalar(self, name, value, step):
        self.scalars[name, step] = value


class Trainer:
    def __init__(self, cfg, say=print):
        self.cfg, self.say, self.device = cfg, say, torch.device("cpu")
        self.num_classes, self._writer = len(cfg.counts), Recorder()
        self.classnames = [f"thing {c}" for c in range(self.num_classes)]
        train, plain = Points(cfg.counts, 0, 0.3), Points(cfg.counts, 0, 0.0)
        chosen = None if cfg.sampler == "shuffle" else getattr(samplers, cfg.sampler)(train.labels, cfg.counts)
        self.train_loader = DataLoader(train, cfg.micro_batch_size, shuffle=chosen is None, sampler=chosen)
        self.train_init_loader = DataLoader(plain, 64)
        self.test_loader = DataLoader(Points([24, 20, 16, 20, 20][: self.num_classes], 2, 0.0), 64)
        self.many_idxs, self.med_idxs, self.few_idxs = [0], [1, 2], [3, 4]
        self.evaluator = Evaluator(self.many_idxs, self.med_idxs, self.few_idxs, say)
        self.accum_step = cfg.batch_size // cfg.micro_batch_size
        self.model = nn.Sequential(nn.Dropout(cfg.dropout), Linear(8, self.num_classes))
        self.tuner = self.model
        if cfg.prec == "fp16":
            self.model.bfloat16()
        self.optim = torch.optim.SGD(self.model.parameters(), cfg.lr)
        self.sched = torch.optim.lr_scheduler.CosineAnnealingLR(self.optim, cfg.num_epochs)
        losses = {"CE": nn.CrossEntropyLoss, "LA": lambda: LogitAdjusted(cfg.counts), "Focal": nn.MultiMarginLoss}
        self.criterion = losses[cfg.loss_type]()
        if cfg.parallel:
            self.model = nn.DataParallel(self.model)

    def train(self):
        cfg = self.cfg
        num_epochs = cfg.num_epochs
        for epoch_idx in range(num_epochs):
            self.tuner.train()
            for batch_idx, (image, label) in enumerate(self.train_loader):
                with torch.autocast("cpu", torch.bfloat16, enabled=cfg.prec == "amp"):
                    output = self.model(image)
                    loss = self.criterion(output, label)
                (loss / self.accum_step).backward()
                if (batch_idx + 1) % self.accum_step == 0 or batch_idx + 1 == len(self.train_loader):
                    self.optim.step()
                    self.optim.zero_grad()
                accuracy = 100 * (output.argmax(dim=1) == label).float().mean()
                place = f"epoch [{epoch_idx + 1}/{num_epochs}] batch [{batch_idx + 1}/{len(self.train_loader)}]"
                numbers = (
                    f"time 0.010 (0.010) data 0.001 (0.001) loss {loss:.4f} ({loss:.4f}) acc {accuracy:.4f} (50.0000)"
                )
                groups = "(mean 50.0000 many 60.0000 med 50.0000 few 40.0000)"
                self.say(f"{place} {numbers} {groups} lr {self.optim.param_groups[0]['lr']:.4e} eta 0:00:01")
            self.sched.step()
        self.say("Finish training")
        self.say("Time elapsed: 0:00:01")
        torch.save({"tuner": self.tuner.state_dict()}, f"{cfg.output_dir}/checkpoint.pth.tar")
        self.test()

    @torch.no_grad()
    def test(self):
        self.tuner.eval()
        self.evaluator.reset()
        for image, label in self.test_loader:
            self.evaluator.process(self.model(image), label)
        self.evaluator.evaluate()
