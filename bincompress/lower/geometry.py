"""Window arithmetic shared by lowering, the emulator, the checks and the exporters."""

from __future__ import annotations

from dataclasses import dataclass

from bincompress.program import Node

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
