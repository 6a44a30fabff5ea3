"""Finding a function that the user names as `package.module:function` or `path/to/file.py:function`.

Naming it is asking for that code to run, so it needs no further trust; nothing else in the package imports user code.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from bincompress.errors import LoadError


def import_function(spec: str, error: type[LoadError]) -> Callable[..., Any]:
    """The callable that `spec` names.

    Raises: `error`, on one line, if the file, module or function is not there or importing it fails.
    """
    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise error(f"{spec}: expected package.module:function or path/to/file.py:function")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_package(where)
    except FileNotFoundError as failure:
        raise error(f"{spec}: there is no file {failure.filename or where}") from failure
    except Exception as failure:  # user code: anything may come out of it
        raise error(f"{spec}: importing {where} failed: {describe(failure)}") from failure
    function = getattr(module, name, None)
    if not callable(function):
        known = ", ".join(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise error(f"{spec}: {where} has no function {name}; it has: {known or 'none'}")
    return function  # type: ignore[no-any-return]


def describe(failure: BaseException) -> str:
    """An exception on one line: its class and the first line of its text."""
    text = (str(failure).strip().splitlines() or [""])[0]
    return f"{type(failure).__name__}: {text}" if text else type(failure).__name__


def _from_package(name: str) -> ModuleType:
    with _importable_from(Path.cwd()):
        return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve(strict=True)
    # A name of its own, so that a user's `data.py` shadows nothing; kept in sys.modules because dataclasses look there.
    name = f"bincompress_user_{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _importable_from(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importable_from(folder: Path) -> Iterator[None]:
    """Let imports find modules in `folder` while the block runs."""
    entry = str(folder)
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
