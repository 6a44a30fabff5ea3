"""The internal form: registration, JSON round trips, shapes and the helpers of surgery."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bincompress import graph as g
from bincompress.errors import ModelLoadError, UnsupportedOpError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8, eps=1e-4)
        self.act = nn.PReLU(8)
        self.short = g.ShortcutA(2, 2, 3)
        self.add = g.Add()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten(1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.add(self.act(self.bn(self.conv(x))), self.short(x))
        y = self.head(self.flat(self.pool(y)))
        return y  # type: ignore[no-any-return]


@pytest.fixture
def traced() -> Any:
    torch.manual_seed(0)
    return g.trace(Block())


def test_json_round_trip_gives_the_same_function(traced: Any) -> None:
    text = json.dumps(g.graph_to_json(traced))
    again = g.graph_from_json(json.loads(text))
    again.load_state_dict(traced.state_dict(), strict=True)
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(again.eval()(x), traced.eval()(x))
    assert json.dumps(g.graph_to_json(again)) == text


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, bias=True),
        nn.Linear(3, 2, bias=False),
        nn.BatchNorm2d(4, eps=1e-3, momentum=None, affine=False),
        nn.BatchNorm1d(4, momentum=0.3),
        nn.ReLU(inplace=True),
        nn.Hardtanh(-2.0, 3.0),
        nn.PReLU(4, init=0.1),
        nn.LeakyReLU(0.3),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d((2, 3), count_include_pad=False),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(1),
        nn.Dropout(0.2),
        nn.Identity(),
        g.Add(),
        g.ShortcutA(2, 1, 4),
    ],
    ids=lambda module: type(module).__name__,
)
def test_every_leaf_is_rebuilt_from_its_config(module: nn.Module) -> None:
    name, config = g.leaf_config(module)
    again = g.build_leaf(name, json.loads(json.dumps(config)))
    assert type(again) is type(module)
    assert g.leaf_config(again) == (name, config)
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in module.state_dict().items()
    }


def test_shortcut_a_takes_every_second_pixel_and_pads_channels() -> None:
    x = torch.arange(50.0).reshape(1, 2, 5, 5)
    y = g.ShortcutA(2, 1, 2)(x)
    assert y.shape == (1, 5, 3, 3)
    assert torch.equal(y[:, 1:3], x[:, :, ::2, ::2])
    assert not y[:, :1].any()
    assert not y[:, 3:].any()


def test_shapes_are_per_sample_and_modes_are_restored(traced: Any) -> None:
    traced.train()
    traced.bn.eval()
    before = traced.bn.running_mean.clone()
    shapes = g.propagate_shapes(traced, (3, 9, 9))
    assert shapes["conv"] == (8, 5, 5)
    assert shapes["short"] == (8, 5, 5)
    assert shapes["head"] == shapes["output"] == (5,)
    assert traced.training
    assert not traced.bn.training
    assert torch.equal(traced.bn.running_mean, before)


def test_a_wrong_input_shape_names_the_layer(traced: Any) -> None:
    with pytest.raises(ModelLoadError, match=r"layer conv .*\(4, 9, 9\)") as caught:
        g.propagate_shapes(traced, (4, 9, 9))
    assert "\n" not in str(caught.value)


def test_an_unregistered_layer_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedOpError, match="ConvTranspose2d"):
        g.leaf_config(nn.ConvTranspose2d(1, 1, 2))


def test_a_subclass_of_a_leaf_is_no_leaf() -> None:
    class Standardised(nn.Conv2d):
        pass

    assert not g.is_leaf(Standardised(1, 1, 1))


def test_a_name_or_class_registers_once() -> None:
    with pytest.raises(ValueError, match="already registered"):
        g.register_leaf(nn.Conv2d, "Other", lambda module: {})


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["nodes"].pop(),
        lambda d: d["nodes"].clear(),
        lambda d: d.pop("modules"),
        lambda d: d["modules"]["conv"].update(leaf="Pickle"),
        lambda d: d["modules"]["conv"]["config"].update(kernel_size="big"),
        lambda d: d["modules"]["conv"]["config"].update(unknown=1),
        lambda d: d["modules"].update({"__class__.x y": {"leaf": "ReLU", "config": {}}}),
        lambda d: d["nodes"][1].update(op="call_function"),
        lambda d: d["nodes"][1].update(target="no.such.module"),
        lambda d: d["nodes"][1].update(inputs=["later"]),
        lambda d: d["nodes"][1].update(name="a b; import os"),
        lambda d: d.update(nodes=7),
    ],
)
def test_damaged_json_is_one_clear_error(traced: Any, damage: Any) -> None:
    data = g.graph_to_json(traced)
    damage(data)
    with pytest.raises(ModelLoadError) as caught:
        g.graph_from_json(data)
    assert "\n" not in str(caught.value)


def test_insert_after_moves_all_users(traced: Any) -> None:
    add = next(node for node in traced.graph.nodes if node.target == "add")
    new = g.insert_after(traced, add, "add", nn.ReLU())
    g.finish(traced)
    assert new.target == "add_1"
    assert [user.target for user in add.users] == ["add_1"]
    assert traced.eval()(torch.randn(1, 3, 8, 8)).shape == (1, 5)


def test_insert_before_changes_one_user_only(traced: Any) -> None:
    conv = next(node for node in traced.graph.nodes if node.target == "conv")
    source = conv.all_input_nodes[0]
    g.insert_before(traced, conv, "conv_sign", nn.Hardtanh())
    g.finish(traced)
    assert sorted(str(user.target) for user in source.users) == ["conv_sign", "short"]


def test_erase_and_replace(traced: Any) -> None:
    act = next(node for node in traced.graph.nodes if node.target == "act")
    g.erase(traced, act)
    g.replace_module(traced, "bn", nn.Identity())
    g.finish(traced)
    assert "act" not in dict(traced.named_modules())
    assert isinstance(traced.bn, nn.Identity)
    x = torch.randn(2, 3, 8, 8)
    expected = traced.head((traced.conv(x) + traced.short(x)).mean((2, 3)))
    assert torch.allclose(traced(x), expected, atol=1e-6)
