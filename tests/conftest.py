"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The directory of real datasets and models: BINCOMPRESS_DATA, else ../shared/data beside the repository."""
    named = os.environ.get("BINCOMPRESS_DATA")
    path = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real data: {path} is absent; set BINCOMPRESS_DATA to a directory with mnist/ cifar10/ models/")
    return path
