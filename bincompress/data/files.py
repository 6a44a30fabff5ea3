"""Reading a dataset's files: plain, .gz or .xz, in a directory, in its usual subfolders or still in the archive."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from bincompress.errors import DataError

LIMIT = 1 << 30  # bytes: far above any file read here, so that a decompression bomb ends as an error

_SUFFIXES = ("", ".gz", ".xz")


class Store:
    """The files of one dataset, found by name under `root` or in one of its `folders`, or in a tar archive.

    `root` may itself be the archive. Names are tried in order, each plain, then with .gz, then with .xz.
    """

    def __init__(self, root: Path, folders: Sequence[str] = (), archives: Sequence[str] = ()) -> None:
        if not root.exists():
            raise DataError(f"{root}: no such file or directory")
        self.root = root
        self._folders = [root, *(root / folder for folder in folders)]
        self._archives = [root] if root.is_file() else [root / name for name in archives]

    def find(self, *names: str) -> Path | None:
        """The first of the files that is there, outside archives."""
        for name in names:
            for folder in self._folders:
                for suffix in _SUFFIXES:
                    path = folder / (name + suffix)
                    if path.is_file():
                        return path
        return None

    def read(self, *names: str) -> tuple[bytes, str]:
        """The uncompressed bytes of the first file that is there, and where it was.

        Raises: DataError if none is, or if it is damaged.
        """
        found = self.read_if_there(*names)
        if found is None:
            raise DataError(f"{self.root}: no {' or '.join(names)} there (nor .gz, .xz); point at the official files")
        return found

    def read_if_there(self, *names: str) -> tuple[bytes, str] | None:
        """As `read`, but None if there is no such file."""
        path = self.find(*names)
        if path is not None:
            return read_bytes(path), str(path)
        for archive in self._archives:
            if archive.is_file():
                data = _from_archive(archive, names)
                if data is not None:
                    return data, str(archive)
        return None


def read_bytes(path: Path) -> bytes:
    """A file's bytes, uncompressed as its first bytes say.

    Raises: DataError if it cannot be read, is damaged, or is larger than `LIMIT`.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(6)
            file.seek(0)
            if magic.startswith(b"\x1f\x8b"):
                with gzip.open(file) as stream:
                    data = stream.read(LIMIT + 1)
            elif magic == b"\xfd7zXZ\x00":
                with lzma.open(file) as stream:
                    data = stream.read(LIMIT + 1)
            else:
                data = file.read(LIMIT + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}; it is damaged or incomplete, fetch it again") from error
    if len(data) > LIMIT:
        raise DataError(f"{path}: more than {LIMIT} bytes when uncompressed, which no known dataset file has")
    return data


def _from_archive(archive: Path, names: Sequence[str]) -> bytes | None:
    """The bytes of the first member whose file name is one of `names`, None if there is none."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and member.name.rpartition("/")[2] in names and member.size <= LIMIT:
                    file = tar.extractfile(member)
                    return None if file is None else file.read()
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{archive}: cannot be read: {error}; expected the dataset's directory or .tar.gz") from error
    return None
