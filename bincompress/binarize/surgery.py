"""Surgery: a float graph and its plan become a new graph of 1-bit layers that can be trained.

Steps, each one function below:
    1. activations   an activation whose every reader is binary goes away, for the sign takes its place; one that a
                     shortcut reads too is kept, removed or replaced as `surgery.activation` says
    2. layers        Conv2d and Linear become BinaryConv2d and BinaryLinear that start from the float weights
    3. norms         a layer without alpha gets a BatchNorm behind it if there is none: its sums are of the order of K
    4. signs         in front of every binary layer: pool, BatchNorm, Sign, Dropout, Flatten (order `keep`: pools stay)
    5. input         a first layer with 1-bit weights reads the integer pixels, where the normalisation allows it
    6. powers of two `surgery.norm: shift` makes every BatchNorm a ShiftBatchNorm

Orders of a block, as the papers have them: BNN writes conv-(pool)-BN-sign, XNOR-Net BN-sign-conv-(pool). In a
chain of blocks both say the same; `conv_bn_act_pool`, which XNOR-Net's paper compares with, pools signs. Where a
residual add lies between blocks, the first signs the sum as it is and the second normalises it first; and the first
wants a BatchNorm behind every binary layer, the second in front of each. A BatchNorm that is inserted starts as the
identity of normalised values (gamma 1, beta 0); `finetune` finds its statistics, and gives those of step 3 the float
layer's own mean and spread (see `Imitation`).
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass

import torch
from torch import fx, nn

from bincompress.binarize.chains import (
    ACTIVATIONS,
    NORMS,
    POOLS,
    beside,
    check_signs,
    input_chain,
    is_a,
    never_negative,
    norm_after,
    normalised_before,
    terminals,
)
from bincompress.binarize.layers import binary_layer
from bincompress.binarize.modules import (
    ActScale,
    BinaryConv2d,
    BinaryWeightLayer,
    InputQuantizer,
    MulMap,
    OutputMap,
    Shift,
    Sign,
)
from bincompress.binarize.shift_norm import ShiftBatchNorm
from bincompress.binarize.shortcuts import shortcut_per_conv
from bincompress.errors import UnsupportedOpError
from bincompress.graph import (
    Add,
    FloatModel,
    erase,
    finish,
    insert_after,
    insert_before,
    node_module,
    propagate_shapes,
    replace_module,
    unique_path,
)
from bincompress.methods import METHODS
from bincompress.plan import LayerPlan, Plan
from bincompress.program import Normalize
from bincompress.recipe import Recipe

INSERTED_BN_EPS = 1e-4  # BNN's and XNOR-Net's code
_INTEGER_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Imitation:
    """A BatchNorm put behind `layer`, which should give its output the mean and spread it had in the float network."""

    norm: str
    layer: str


def binarize(model: FloatModel, plan: Plan, recipe: Recipe) -> fx.GraphModule:
    """The trainable 1-bit graph of `model`; binary layers keep the names of the float ones.

    Returns: a new graph in training mode; `meta["imitations"]` lists its `Imitation`s for `finetune`.
    Raises: RecipeError if a sign would be fed by a tensor that cannot be negative; UnsupportedOpError for a layer
        that has no 1-bit form.
    """
    graph = copy.deepcopy(model.graph)
    rows = {row.name: row for row in plan if row.decision != "float"}
    if recipe.surgery.shortcut == "per_conv":
        binary = {name for name, row in rows.items() if row.decision == "binary"}
        shortcut_per_conv(graph, binary, model.input_shape)
    surgeon = _Surgeon(graph, rows, recipe, model)
    surgeon.activations()
    surgeon.layers()
    surgeon.norms()
    surgeon.signs()
    surgeon.input()
    if recipe.surgery.norm == "shift":
        surgeon.powers_of_two()
    check_signs(graph)
    graph.meta["imitations"] = tuple(surgeon.unsigned_imitations())
    return finish(graph).train()


class _Surgeon:
    """The steps, and what they share."""

    def __init__(self, graph: fx.GraphModule, rows: dict[str, LayerPlan], recipe: Recipe, model: FloatModel) -> None:
        self.graph = graph
        self.rows = rows
        self.recipe = recipe
        self.method = METHODS[recipe.method]
        given = recipe.data.normalize
        self.normalize = Normalize(given.mean, given.std) if given else model.normalize
        # Shapes of the float graph; surgery changes no channels, so nodes it adds or moves keep what matters of them.
        self.shapes = propagate_shapes(graph, model.input_shape)
        self.imitations: list[Imitation] = []
        self.shared_signs: dict[tuple[fx.Node, str, bool, bool], fx.Node] = {}

    def _targets(self, *decisions: str) -> list[fx.Node]:
        return [
            node
            for node in self.graph.graph.nodes
            if node.op == "call_module" and node.target in self.rows and self.rows[node.target].decision in decisions
        ]

    def activations(self) -> None:
        binary = set(self._targets("binary"))
        for node in list(self.graph.graph.nodes):
            if not is_a(self.graph, node, ACTIVATIONS) or not (ends := terminals(self.graph, node)) & binary:
                continue
            choice = self.recipe.surgery.activation
            if ends <= binary or choice == "none":
                erase(self.graph, node)
            elif choice == "hardtanh":
                replace_module(self.graph, str(node.target), nn.Hardtanh())
            elif choice in ("prelu", "rprelu"):
                self._replace_activation(node, shifted=choice == "rprelu")

    def _replace_activation(self, node: fx.Node, *, shifted: bool) -> None:
        channels = self.shapes[node.name][0]
        path = str(node.target)
        new = self._insert_after(node, beside(path, "prelu"), nn.PReLU(channels))
        if shifted:
            insert_before(self.graph, new, beside(path, "shift_in"), Shift(channels))
            self._insert_after(new, beside(path, "shift_out"), Shift(channels))
        erase(self.graph, node)

    def layers(self) -> None:
        for name in dict.fromkeys(str(node.target) for node in self._targets("binary", "weight_only")):
            layer = binary_layer(self.graph.get_submodule(name), self.rows[name], self.method)
            replace_module(self.graph, name, layer)

    def norms(self) -> None:
        calls = Counter(node.target for node in self.graph.graph.nodes)
        for node in self._targets("binary", "weight_only"):
            layer = node_module(self.graph, node)
            assert isinstance(layer, BinaryWeightLayer)
            norm = norm_after(self.graph, node)
            behind_layers = self.recipe.surgery.order in ("conv_bn_act", "conv_bn_act_pool")
            needed = not layer.has_alpha or (self.rows[str(node.target)].decision == "binary" and behind_layers)
            if norm is None and needed and self.recipe.surgery.insert_bn == "auto":
                norm = self._insert_after(node, beside(node.target, "bn"), _norm_for(self.shapes[node.name]))
                self.imitations.append(Imitation(str(norm.target), str(node.target)))
            if norm is not None and calls[node.target] == 1 and _bias_commutes(self.graph, node, norm):
                _fold_bias(layer, node_module(self.graph, norm))

    def unsigned_imitations(self) -> list[Imitation]:
        """Without those whose values only go to a sign: there, unit spread around 0 is what trains best."""
        norms = {str(node.target): node for node in self.graph.graph.nodes}
        return [
            row
            for row in self.imitations
            if not any(is_a(self.graph, u, (Sign,)) for u in terminals(self.graph, norms[row.norm]))
        ]

    def signs(self) -> None:
        for node in self._targets("binary"):
            row = self.rows[str(node.target)]
            assert row.activation is not None
            sign = self._sign_for(node, row)
            if row.activation.scale.kind == "spatial":
                self._scale_by_map(node, sign)
            elif row.activation.scale.kind in ("positions", "factored"):
                self._scale_by_position(node, factored=row.activation.scale.kind == "factored")

    def _sign_for(self, layer: fx.Node, row: LayerPlan) -> fx.Node:
        """Put the layer's input in order and a Sign into it; returns the Sign's node."""
        assert row.activation is not None
        graph, order = self.graph, self.recipe.surgery.order
        attach, private = (chain := input_chain(graph, layer)).attach, list(chain.private)
        key = (attach, row.estimator, row.activation.stochastic, row.activation.shift)
        if not private and key in self.shared_signs:
            layer.replace_input_with(attach, self.shared_signs[key])
            return self.shared_signs[key]

        flatten = next((i for i, node in enumerate(private) if is_a(graph, node, (nn.Flatten,))), len(private))
        flat_norm = any(is_a(graph, node, NORMS) for node in private[flatten:])
        spatial_dense = row.activation.scale.kind == "spatial" and row.op == "Linear"
        head = private if flat_norm or spatial_dense else private[:flatten]
        dropouts = [node for node in private if is_a(graph, node, (nn.Dropout,))]
        before = [node for node in head if node not in dropouts]
        if order == "conv_bn_act_pool" and not flat_norm and row.activation.scale.kind != "spatial":
            # the maximum of signs is a sign, their average is not
            before = [node for node in before if not is_a(graph, node, (nn.MaxPool2d,))]
        if order != "keep" and not flat_norm:  # a stable sort: pools first
            before.sort(key=lambda node: not is_a(graph, node, POOLS))
        after = [node for node in private if node not in before]
        after.sort(key=lambda node: (not is_a(graph, node, (nn.MaxPool2d,)), node not in dropouts))

        last = _rewire(attach, before)
        has_norm = any(is_a(graph, node, NORMS) for node in before) or normalised_before(graph, attach)
        if self._needs_norm(last, has_norm) and self.recipe.surgery.insert_bn == "auto":
            last = self._insert_behind(last, beside(layer.target, "bn_in"), _norm_for(self.shapes[last.name]))
        if row.activation.shift:
            last = self._insert_behind(last, beside(layer.target, "rsign"), Shift(self.shapes[last.name][0]))
        sign = self._insert_behind(last, beside(layer.target, "sign"), self._new_sign(row))
        layer.replace_input_with(layer.all_input_nodes[0], _rewire(sign, after))
        if not private:
            self.shared_signs[key] = sign
        return sign

    def _needs_norm(self, node: fx.Node, has_norm: bool) -> bool:
        order = self.recipe.surgery.order
        if never_negative(self.graph, node):
            return True
        if order.startswith("conv_bn_act"):  # the sum of a residual block goes to the sign as it is
            return not has_norm and not self._two_sided(node)
        return order == "bn_act_conv" and not has_norm

    def _two_sided(self, node: fx.Node) -> bool:
        """Whether a node is a residual sum or a BatchNorm's output, or an activation of one that passes both signs."""
        while is_a(self.graph, node, (nn.PReLU, nn.Hardtanh, nn.LeakyReLU, Shift)):
            node = node.all_input_nodes[0]
        return is_a(self.graph, node, (Add, *NORMS))

    def _new_sign(self, row: LayerPlan) -> Sign:
        assert row.activation is not None
        return Sign(row.estimator, stochastic=row.activation.stochastic)

    def _scale_by_map(self, layer: fx.Node, sign: fx.Node) -> None:
        """Multiply the layer's output with mean |x| of what it saw, x being what is signed."""
        module = node_module(self.graph, layer)
        act_scale = ActScale()
        if isinstance(module, BinaryConv2d):
            if module.groups != 1 or module.dilation != (1, 1):
                raise UnsupportedOpError(
                    f"{layer.target}: activation.scale.kind spatial needs groups 1 and dilation 1, "
                    f"the layer has {module.groups} and {module.dilation}; set kind: none for it in a rule"
                )
            act_scale = ActScale(module.kernel_size, module.stride, module.padding)
        assert isinstance(module, BinaryWeightLayer)
        scale = self._insert_behind(sign.all_input_nodes[0], beside(layer.target, "act_scale"), act_scale)
        scaled = self._insert_after(layer, beside(layer.target, "scaled"), MulMap())
        scaled.args = (layer, scale)
        self._move_bias(layer, scaled)

    def _scale_by_position(self, layer: fx.Node, *, factored: bool) -> None:
        """Multiply the layer's output with a learned map; a dense layer's has one position, which alpha covers."""
        shape = self.shapes[layer.name]
        if len(shape) == 3:
            scaled = self._insert_after(layer, beside(layer.target, "map"), OutputMap(*shape[1:], factored=factored))
            self._move_bias(layer, scaled)

    def _move_bias(self, layer: fx.Node, scaled: fx.Node) -> None:
        """A map scales the sum alone, so that the layer's bias comes behind it."""
        module = node_module(self.graph, layer)
        assert isinstance(module, BinaryWeightLayer)
        if module.bias is not None:
            shift = Shift(module.bias.numel())
            shift.shift = module.bias
            module.bias = None
            self._insert_after(scaled, beside(layer.target, "shift"), shift)

    def powers_of_two(self) -> None:
        for name in dict.fromkeys(str(node.target) for node in self.graph.graph.nodes if is_a(self.graph, node, NORMS)):
            replace_module(self.graph, name, ShiftBatchNorm.like(self.graph.get_submodule(name)))

    def input(self) -> None:
        quantizer = _input_quantizer(self.normalize)
        for node in self._targets("weight_only"):
            chain = input_chain(self.graph, node)
            source = chain.attach
            if quantizer is None or source.op != "placeholder" or len(source.users) != 1:
                continue
            if any(is_a(self.graph, passed, (*NORMS, *POOLS, *ACTIVATIONS)) for passed in chain.private):
                continue
            if norm_after(self.graph, node) is None:  # nothing would take the factor `denominator` out again
                continue
            insert_after(self.graph, source, beside(node.target, "input"), quantizer)

    def _insert_after(self, node: fx.Node, path: str, module: nn.Module) -> fx.Node:
        """A new node between `node` and all its readers."""
        new = insert_after(self.graph, node, path, module)
        self.shapes[new.name] = self.shapes[node.name]
        return new

    def _insert_behind(self, node: fx.Node, path: str, module: nn.Module) -> fx.Node:
        """A new reader of `node` that nobody reads yet."""
        path = unique_path(self.graph, path)
        self.graph.add_submodule(path, module)
        with self.graph.graph.inserting_after(node):
            new = self.graph.graph.call_module(path, (node,))
        self.shapes[new.name] = self.shapes[node.name]
        return new


def _rewire(attach: fx.Node, nodes: list[fx.Node]) -> fx.Node:
    """String `nodes` behind `attach` in this order, moving them in the graph; returns the last."""
    for node in nodes:
        attach.append(node)
        node.args = (attach,)
        attach = node
    return attach


def _norm_for(shape: tuple[int, ...]) -> nn.Module:
    kind = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    return kind(shape[0], eps=INSERTED_BN_EPS)


def _bias_commutes(graph: fx.GraphModule, layer: fx.Node, norm: fx.Node) -> bool:
    """Whether adding a constant before what lies between layer and norm equals adding it after."""
    node = next(iter(layer.users))
    while node is not norm:
        module = node_module(graph, node)
        if isinstance(module, nn.AvgPool2d) and module.padding not in (0, (0, 0)):
            return False
        if isinstance(module, (nn.Flatten, nn.Dropout)):
            return False
        node = next(iter(node.users))
    return True


@torch.no_grad()
def _fold_bias(layer: BinaryWeightLayer, norm: nn.Module) -> None:
    """Drop a bias that BatchNorm subtracts again; its running mean follows, so that nothing changes."""
    assert isinstance(norm, NORMS)
    if layer.bias is not None and norm.running_mean is not None:
        norm.running_mean -= layer.bias
    layer.bias = None


def _input_quantizer(normalize: Normalize | None) -> InputQuantizer | None:
    """The quantizer that finds 2 u - offset again, or None if no integer offset gives all channels' pixels."""
    if normalize is None or len(set(normalize.mean)) != 1 or len(set(normalize.std)) != 1:
        return None
    offset = 510 * normalize.mean[0]
    if abs(offset - round(offset)) > _INTEGER_TOLERANCE:
        return None
    return InputQuantizer(round(offset), 510 * normalize.std[0])
