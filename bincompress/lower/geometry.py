"""Window arithmetic shared by lowering, the emulator, the checks and the exporters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.program import Node

Array = npt.NDArray[Any]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A sliding window: kernel, stride, padding (top, left, bottom, right) and dilation."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    @property
    def taps(self) -> int:
        """Number of positions of the kernel."""
        return self.kernel[0] * self.kernel[1]

    def extent(self, axis: int) -> int:
        """Pixels that the dilated kernel spans along `axis` (0 height, 1 width)."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def output(self, height: int, width: int) -> Pair:
        """Size of the result over a `height` x `width` image; not positive where the window does not fit."""
        top, left, bottom, right = self.padding
        padded = (height + top + bottom, width + left + right)
        high, wide = ((padded[i] - self.extent(i)) // self.stride[i] + 1 for i in (0, 1))
        return high, wide


def window(node: Node) -> Window:
    """The window of a convolution, pool or `act_scale` node."""
    attrs = node.attrs
    return Window(attrs["kernel"], attrs["stride"], attrs["padding"], attrs.get("dilation", (1, 1)))


def windows(x: Array, win: Window, outside: Any) -> Iterator[Array]:
    """The input seen under each tap, in (kh, kw) order, each (N, C, H', W'), `outside` beyond the image."""
    top, left, bottom, right = win.padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=outside)
    high, wide = win.output(*x.shape[2:])
    for i in range(win.kernel[0]):
        for j in range(win.kernel[1]):
            y0, x0 = i * win.dilation[0], j * win.dilation[1]
            y1, x1 = y0 + (high - 1) * win.stride[0] + 1, x0 + (wide - 1) * win.stride[1] + 1
            yield padded[:, :, y0 : y1 : win.stride[0], x0 : x1 : win.stride[1]]
