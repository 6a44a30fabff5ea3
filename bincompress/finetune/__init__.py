"""Training of a 1-bit graph: stages, losses, schedules, augmentation, BatchNorm statistics, one loop."""

from __future__ import annotations

from bincompress.finetune.augment import normalized
from bincompress.finetune.bn import reestimate_bn
from bincompress.finetune.loop import Progress, Result, finetune, set_binarized

__all__ = ["Progress", "Result", "finetune", "normalized", "reestimate_bn", "set_binarized"]
