"""Training of a 1-bit graph: stages, losses, schedules, augmentation, BatchNorm statistics, one loop."""

from __future__ import annotations

from bincompress.finetune.augment import normalized
from bincompress.finetune.bn import reestimate_bn
from bincompress.finetune.loop import finetune, set_binarized
from bincompress.finetune.run import Progress, Result

__all__ = ["Progress", "Result", "finetune", "normalized", "reestimate_bn", "set_binarized"]
