"""python -m bincompress: the same as the `bincompress` command."""

from __future__ import annotations

from bincompress.cli import main

if __name__ == "__main__":
    main()
