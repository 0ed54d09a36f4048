from yacs.config import CfgNode as CN  # noqa: N817

_C = CN()

_C.counts = (120, 60, 30, 12, 5)  # training images of each class
_C.dataset = "Points"
_C.output_dir = "output"
_C.seed = 0
_C.prec = "fp32"
_C.sampler = "shuffle"
_C.parallel = False
_C.dropout = 0.2
_C.num_epochs = 2
_C.batch_size = 32
_C.micro_batch_size = 32
_C.lr = 0.5
_C.loss_type = "LA"
_C.classifier = None
