"""The example of adding a method in recipes/README.md, run as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bincompress.binarize.estimators import binarize_tensor
from bincompress.binarize.modules import Sign
from bincompress.methods import ESTIMATORS, METHODS
from bincompress.recipe import load_recipe, parse_recipe, recipe_schema, recipes_dir
from tests.binarize.networks import converted, zoo_model

README = recipes_dir() / "README.md"


@pytest.fixture(name="recipe_text")
def _example() -> Iterator[str]:
    """Registers the README's method; gives its recipe."""
    text = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 35
    (recipe,) = re.findall(r"\n((?:    .*\n)*    method: bnn_plus\n(?:    .*\n)*)", text)
    try:
        exec(compile(code, str(README), "exec"), {"__name__": "bnn_plus"})
        yield recipe
    finally:
        METHODS.pop("bnn_plus", None)
        ESTIMATORS.pop("sign_swish", None)


def test_the_example_is_a_method_like_any_other(recipe_text: str, tmp_path: Path) -> None:
    path = tmp_path / "bnn_plus.yaml"
    path.write_text(recipe_text, encoding="utf-8")
    chosen = load_recipe(path)
    assert (chosen.method, chosen.defaults.estimator) == ("bnn_plus", "sign_swish")
    assert "bnn_plus" in recipe_schema()["properties"]["method"]["enum"]
    graph = converted(zoo_model("digits_cnn"), chosen)
    assert any(isinstance(module, Sign) and module.estimator == "sign_swish" for module in graph.modules())
    graph(torch.randn(2, 1, 8, 8)).square().sum().backward()
    other = parse_recipe("method: xnor\ndefaults: {estimator: sign_swish}", "r.yaml")
    assert other.defaults.estimator == "sign_swish"


def test_its_gradient_is_that_of_sign_swish(recipe_text: str) -> None:
    """2 sigmoid(bx) (1 + bx (1 - sigmoid(bx))) - 1, b = 5."""
    x = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    sigmoid = torch.sigmoid(5 * x)
    (expected,) = torch.autograd.grad((2 * sigmoid * (1 + 5 * x * (1 - sigmoid)) - 1).sum(), x)
    (found,) = torch.autograd.grad(binarize_tensor(x, "sign_swish").sum(), x)
    torch.testing.assert_close(found, expected)
