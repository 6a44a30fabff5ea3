"""What can go wrong, as one tree; every message says where, what, what was expected and what to do.

BincompressError            exit 5   (only ever raised through a subclass)
├── UsageError              exit 2   wrong flags, an output that already exists
├── RecipeError             exit 2   a recipe that cannot be read or does not fit the model
├── LoadError               exit 3   a file that cannot be loaded
│   ├── ModelLoadError               ... a float model or a checkpoint
│   ├── DataError                    ... a dataset
│   └── PackError                    ... a packed file
├── UnsupportedOpError      exit 3   a layer or op that no importer, surgery or lowering knows
├── LoweringError           exit 3   a trained graph that has no exact integer form
├── NativeError             exit 3   a refusal by the C library (status, byte offset)
├── ParityError             exit 4   the packed file does not compute what was trained
└── GateError               exit 1   a limit of the recipe's `gates` is not met
"""

from __future__ import annotations


class BincompressError(Exception):
    """Base of every error that the command line shows as one line, without a traceback."""

    exit_code = 5


class UsageError(BincompressError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class RecipeError(BincompressError):
    """A recipe is malformed, or asks for something that the model does not have."""

    exit_code = 2


class LoadError(BincompressError):
    """A file cannot be loaded."""

    exit_code = 3


class ModelLoadError(LoadError):
    """A float model or a checkpoint cannot be loaded."""


class DataError(LoadError):
    """A dataset cannot be loaded."""


class PackError(LoadError):
    """A packed file cannot be written or read."""


class UnsupportedOpError(BincompressError):
    """A model holds a layer or an operation that bincompress does not know."""

    exit_code = 3


class LoweringError(BincompressError):
    """A trained graph cannot be turned into an exact integer program."""

    exit_code = 3


class NativeError(BincompressError):
    """The C library refused something.

    `status` is the name of the `bc_status` code, `offset` the byte in the file at which it was found (or -1).
    """

    exit_code = 3

    def __init__(self, message: str, status: str = "", offset: int = -1) -> None:
        super().__init__(message)
        self.status = status
        self.offset = offset


class ParityError(BincompressError):
    """The packed file does not compute what the trained graph computes."""

    exit_code = 4


class GateError(BincompressError):
    """A limit under `gates` in the recipe is not met."""

    exit_code = 1
