"""The table of results: which networks are trained how, the runner that makes every row, and its rendering."""

from __future__ import annotations

from bincompress.results.render import render
from bincompress.results.runner import Summary, make_results, read_results
from bincompress.results.table import PARENTS, ROWS, Parent, Row, find_rows

__all__ = ["PARENTS", "ROWS", "Parent", "Row", "Summary", "find_rows", "make_results", "read_results", "render"]
