"""One step of training; on a GPU it is recorded, and the recording is what runs.

The step of a small network is a thousand kernels of a few microseconds each. Launched one by one they keep the GPU
waiting for the processor; a recording (a CUDA graph) launches them all at once. It holds the same kernels, and so gives
the same bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from bincompress.finetune.feed import Batch
from bincompress.finetune.keep import Keeper
from bincompress.finetune.losses import training_loss
from bincompress.finetune.optimizer import Optimizers, can_be_recorded, clip_latents
from bincompress.finetune.run import Run

_PLAIN = 3  # steps of a stage that come before a recording: they allocate what optimisers and libraries keep


class Step:
    """Forward, backward and update for one batch of a stage; `loss_sum` and `correct` add up over an epoch."""

    def __init__(self, run: Run, optimizers: Optimizers, keeper: Keeper) -> None:
        self._run = run
        self._optimizers = optimizers
        self._keeper = keeper
        self.loss_sum, self.correct = (torch.zeros((), dtype=torch.float64, device=run.device) for _ in range(2))
        self._recorder: _Recorder | None = None
        if run.device.type == "cuda" and run.features is None and all(can_be_recorded(each) for each in optimizers):
            self._recorder = _Recorder(run.device)
        self._plain_left = _PLAIN

    def begin(self) -> None:
        """An epoch begins: a recording holds numbers that change with training's progress, so it is made anew."""
        self.loss_sum.zero_()
        self.correct.zero_()
        if self._recorder is not None:
            self._recorder.ready = False

    def __call__(self, batch: Batch, answers: Tensor | None) -> None:
        """Learn from a batch; `answers` are the teacher's."""
        inputs = [batch.x, batch.labels, batch.targets, *([] if answers is None else [answers])]
        recorder = self._recorder
        if recorder is None:
            self._learn(*inputs)
        elif self._plain_left:
            self._plain_left -= 1
            recorder.run_aside(lambda: self._learn(*inputs))
        elif recorder.ready or recorder.record(self._learn, inputs):
            recorder.replay(inputs)
        else:
            self._recorder = None
            self._learn(*inputs)

    def _learn(self, x: Tensor, labels: Tensor, targets: Tensor, answers: Tensor | None = None) -> None:
        run = self._run
        logits = run.graph(x)
        features = run.features.take() if run.features is not None else None
        loss = training_loss(run.recipe.train, logits, targets, answers, features)
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self._optimizers:
            optimizer.step()
        clip_latents(run.graph)
        self._keeper.step()
        self.loss_sum += loss.detach() * len(labels)
        self.correct += (logits.detach().argmax(1) == labels).sum()


class _Recorder:
    """Records work on a stream of its own, into memory that its recordings share."""

    def __init__(self, device: torch.device) -> None:
        self.ready = False
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []

    def run_aside(self, work: Callable[[], None]) -> None:
        """Do it where recordings are made, with all before and after it in order."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            work()
        here.wait_stream(self._stream)

    def record(self, work: Callable[..., None], inputs: list[Tensor]) -> bool:
        """Record, and not do, work(*inputs); the last recording keeps the memory until this one has it.

        Returns: whether that was possible.
        """
        self._inputs = self._inputs or [each.clone() for each in inputs]
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                work(*self._inputs)
        except RuntimeError as error:
            generator = torch.cuda.default_generators[self._device.index]
            generator.graphsafe_set_state(generator.clone_state())  # else it would record for ever
            reason = str(error).partition("\n")[0]
            warnings.warn(f"training is slower than it could be: its steps cannot be recorded ({reason})", stacklevel=2)
            return False
        self._graph, self.ready = graph, True
        return True

    def replay(self, inputs: list[Tensor]) -> None:
        """Do what was recorded, with these inputs."""
        assert self._graph is not None
        for mine, theirs in zip(self._inputs, inputs, strict=True):
            mine.copy_(theirs)
        self._graph.replay()
