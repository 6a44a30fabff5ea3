"""Street View House Numbers, cropped digits: train_32x32.mat and test_32x32.mat."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from bincompress.data.files import Store
from bincompress.data.split import Split, Which, checked
from bincompress.errors import DataError
from bincompress.user_code import describe


def open_svhn(root: Path, which: Which) -> Split:
    """SVHN: 73,257 and 26,032 colour images of 32 x 32."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError("svhn: reading .mat files needs scipy: pip install 'bincompress[images]'") from error
    data, where = Store(root).read(f"{which}_32x32.mat")
    try:
        content = loadmat(io.BytesIO(data), variable_names=["X", "y"])
        images = np.asarray(content["X"]).transpose(3, 2, 0, 1)  # stored (H, W, C, N)
        labels = np.asarray(content["y"]).reshape(-1) % 10  # stored 1..10, where 10 is the digit 0
    except Exception as error:  # scipy's reader raises many kinds on damaged files
        raise DataError(f"{where}: is no intact SVHN file: {describe(error)}; fetch it again") from error
    return checked(images, labels, tuple("0123456789"), f"svhn#{which}", where)
