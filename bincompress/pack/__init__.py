"""Program <-> bytes: the packed GGUF file, written deterministically and read strictly (see kernels/FORMAT.md)."""

from bincompress.pack.reader import read_packed, read_packed_bytes
from bincompress.pack.writer import packed_bytes, write_packed

__all__ = ["packed_bytes", "read_packed", "read_packed_bytes", "write_packed"]
