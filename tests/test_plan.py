"""The plan: which layers are binarized, which stay float, and the reason given for each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bincompress.errors import RecipeError
from bincompress.graph import Add, FloatModel, trace
from bincompress.plan import Plan, make_plan
from bincompress.recipe import parse_recipe


class Residual(nn.Module):
    """conv1 -> block with a 1x1 shortcut -> depthwise -> fc: every role a layer can have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.relu2 = nn.ReLU()
        self.expand = nn.Conv2d(16, 16, 1)  # 1x1, ends in the add, but its input is its own
        self.down = nn.Conv2d(8, 16, 1, stride=2, bias=False)
        self.down_bn = nn.BatchNorm2d(16)
        self.add = Add()
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.hidden = nn.Linear(16, 32)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.add(self.expand(self.relu2(self.bn2(self.conv2(x)))), self.down_bn(self.down(x)))
        return self.fc(self.hidden(self.flat(self.pool(self.depthwise(x)))))


@pytest.fixture
def model() -> FloatModel:
    torch.manual_seed(0)
    return FloatModel(trace(Residual()), (3, 8, 8), None, "0" * 64, "test")


def plan_of(model: FloatModel, text: str) -> Plan:
    return make_plan(model, parse_recipe(text, "r.yaml"))


def test_roles_follow_from_the_graph_not_from_names(model: FloatModel) -> None:
    plan = plan_of(model, "method: xnor")
    decisions = {row.name: row.decision for row in plan}
    assert decisions == {
        "conv1": "float",
        "conv2": "binary",
        "expand": "binary",
        "down": "float",
        "depthwise": "float",
        "hidden": "binary",
        "fc": "float",
    }
    assert plan["conv1"].reason == "first layer: layers.first is float"
    assert plan["down"].reason == "downsample layer: layers.downsample is float"
    assert plan["fc"].reason == "last layer: layers.last is float"
    assert "depthwise" in plan["depthwise"].reason


def test_counts_are_of_one_sample(model: FloatModel) -> None:
    plan = plan_of(model, "method: xnor")
    assert plan["conv1"].macs == 8 * 8 * 8 * 27
    assert plan["conv2"].macs == 4 * 4 * 16 * 72
    assert plan["depthwise"].macs == 4 * 4 * 16 * 9
    assert plan["hidden"].macs == plan["hidden"].weights == 16 * 32
    assert (plan["hidden"].weight_bits, plan["fc"].weight_bits) == (1, 32)
    float_macs = sum(plan[name].macs for name in ("conv1", "down", "depthwise", "fc"))
    assert plan.float_macs == pytest.approx(float_macs / sum(row.macs for row in plan))


def test_a_binary_first_layer_has_binary_weights_only(model: FloatModel) -> None:
    plan = plan_of(model, "method: bnn\nlayers: {downsample: binary}")
    assert plan["conv1"].decision == "weight_only"
    assert plan["conv1"].reason == "first layer: its input is not binary"
    assert plan["conv1"].activation is None
    assert plan["down"].decision == plan["fc"].decision == "binary"


def test_float_activations_mean_weight_only_and_zero_padding(model: FloatModel) -> None:
    plan = plan_of(model, "method: bwn\ndefaults: {padding: one}")
    assert {row.decision for row in plan} == {"weight_only", "float"}
    assert all(row.padding == 0 for row in plan)
    assert plan_of(model, "method: xnor\ndefaults: {padding: one}")["conv2"].padding == 1


def test_rules_select_by_name_parent_glob_expression_and_type(model: FloatModel) -> None:
    text = """
method: xnor
layers:
  rules:
    - {match: "re:conv[2-9]", weight: {clip: null, scale: {granularity: layer}}}
    - {match: "*", type: Linear, weight: {center: false}}
    - {match: hidden, skip: true}
    - {match: depthwise, skip: false}
    - {match: nothing, optional: true}
"""
    plan = plan_of(model, text)
    conv2 = plan["conv2"].weight
    assert conv2 is not None
    assert (conv2.clip, conv2.scale.granularity, conv2.center) == (None, "layer", True)
    assert plan["hidden"].reason == "rule 'hidden' skips it"
    assert plan["depthwise"].decision == "binary"
    assert plan["fc"].decision == "float", "a rule that only changes settings does not undo layers.last"


def test_skip_false_binarizes_in_spite_of_the_policy_and_the_last_rule_wins(model: FloatModel) -> None:
    rules = "layers: {rules: [{match: fc, skip: true}, {match: fc, skip: false}]}"
    assert plan_of(model, f"method: xnor\n{rules}")["fc"].decision == "binary"


def test_a_rule_that_matches_nothing_is_an_error_with_its_position(model: FloatModel) -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml:2:18: layers\.rules\[0\]: 'convv2' matches no layer.*\"conv2\"\?"):
        plan_of(model, "method: xnor\nlayers: {rules: [{match: convv2}]}")
    with pytest.raises(RecipeError, match="matches no layer of type Linear"):
        plan_of(model, "method: xnor\nlayers: {rules: [{match: conv2, type: Linear}]}")


def test_zero_binarized_layers_is_an_error(model: FloatModel) -> None:
    with pytest.raises(RecipeError, match="no layer would be binarized"):
        plan_of(model, "method: xnor\nlayers: {rules: [{match: '*', skip: true}]}")
    with pytest.raises(RecipeError, match=r"weight\.binarizer is none"):
        plan_of(model, "method: bnn\ndefaults: {weight: {binarizer: none}}")


def test_rows_as_json_have_the_promised_keys(model: FloatModel) -> None:
    for row in plan_of(model, "method: xnor").to_json():
        assert {"name", "op", "decision", "method", "reason", "macs", "weight_bits"} <= set(row)
        assert row["reason"]
