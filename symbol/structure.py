"""The ideas behind interleaved group convolutions, as exact small functions on NumPy arrays.

Sources: section 3 of IGCV1 (ICCV 2017), of IGCV2 (CVPR 2018) and of IGCV3 (BMVC 2018).
"""

import dataclasses
import math
import re

import numpy as np

from igc.errors import InputError
from igc.symbol.expand import IDENTITIES
from igc.symbol.graph import parse
from igc.symbol.rewrite import PERMUTATION, make_native
from igc.symbol.shapes import infer_shapes

# the names of convolutions on shortcuts: resnet_igc, cross; dmr_cross_2016; the ImageNet networks
_PROJECTION = re.compile(r"(p0_line_conv|l[12]_line_conv|_proj|_proj_conv)$")
# the part of a convolution's name that its block's layers share
_BLOCK = re.compile(r"(.+?)[_-](?:(?:exp|depthwise|linear)-)?conv(?:2d)?\d*$")
# what may stand between a block's linear layers
_BETWEEN = ("BatchNorm", "Activation", "clip", *IDENTITIES)
STRICT, LOOSE = "strict", "loose"


def is_projection(name, kernel):
    """Tell whether a convolution projects a shortcut, by its name and the side of its window.

    The left branch of `fuse3` and `fuse6` has a projection's name and a 3x3 window: it is none.
    """
    return kernel == 1 and bool(_PROJECTION.search(name))


@dataclasses.dataclass(frozen=True)
class Link:
    """A linear layer between channels: a convolution in groups, or a permutation.

    Attributes
    ----------
    kind : {"convolution", "permutation"}
    name : str
    width_in, width : int
        Channels.
    groups : int
        Of a permutation, the groups that it deals out.
    kernel : int
        Side of the window; 1 for a permutation.
    """

    kind: str
    name: str
    width_in: int
    width: int
    groups: int
    kernel: int = 1

    def ones(self):
        """Give a weight of ones, (width, width_in / groups, 1, 1)."""
        return np.ones((self.width, self.width_in // self.groups, 1, 1))


def links(symbol, block, data_shape):
    """List the convolutions and permutations of a block in the order in which they run.

    Batch normalisation and ReLU between them are passed over, shortcuts are left out.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        The network.
    block : str
        What the names of the block's layers begin with, such as ``"g1_b1"`` (`plain_igc`, `igcv2`),
        ``"g1_b1_p2_two1"`` (`resnet_igc`) or ``"seq-1-block0"`` (`igcv3`).
    data_shape : tuple of int
        Of the input, with the batch.

    Returns
    -------
    list of Link

    Raises
    ------
    InputError
        When no layer has such a name, or its convolutions do not follow each other.
    """
    arguments, _, _ = infer_shapes(symbol, {"data": data_shape})
    graph = parse(symbol.tojson())
    make_native(graph)
    nodes = list(graph.nodes())

    def kernel(node):
        return arguments[node.inputs[1].node.name][2]

    convolutions = [
        node
        for node in nodes
        if node.op == "Convolution"
        and node.name.startswith((f"{block}_", f"{block}-"))
        and not is_projection(node.name, kernel(node))
    ]
    if not convolutions:
        raise InputError(f"block {block}: the network has no convolution of that name")
    found = []
    for node in _chain(nodes, convolutions, block):
        if node.op == PERMUTATION:
            groups, channels = int(node.attributes["branch_factor"]), found[-1].width
            found.append(Link("permutation", node.name, channels, channels, groups))
        else:
            width, per_group, side = arguments[node.inputs[1].node.name][:3]
            groups = int(node.attributes.get("num_group", 1))
            found.append(Link("convolution", node.name, per_group * groups, width, groups, side))
    return found


def _chain(nodes, convolutions, block):
    """List convolutions, and permutations between and behind them, as they follow each other."""
    node, chain, left = convolutions[-1], [], {id(node) for node in convolutions}
    while left:
        if id(node) in left or node.op == PERMUTATION:
            chain.append(node)
            left.discard(id(node))
        elif node.op not in _BETWEEN:
            side = next(other.name for other in convolutions if id(other) in left)
            raise InputError(
                f"block {block}: {convolutions[-1].name} does not follow {side}, they lie side by "
                "side or have others between them; name a smaller part of the block"
            )
        node = node.inputs[0].node
    chain.reverse()
    readers = {}
    for reader in nodes:
        for edge in reader.inputs[:1]:
            readers.setdefault(id(edge.node), []).append(reader)
    node = chain[-1]
    while len(after := readers.get(id(node), [])) == 1 and after[0].op in (PERMUTATION, *_BETWEEN):
        node = after[0]
        if node.op == PERMUTATION:
            chain.append(node)
    return chain


def first_block(symbol):
    """Name the first block that permutes channels.

    Raises
    ------
    InputError
        When none does.
    """
    graph = parse(symbol.tojson())
    make_native(graph)
    for node in graph.nodes():
        if node.op != PERMUTATION:
            continue
        while node.op in (PERMUTATION, *_BETWEEN):
            node = node.inputs[0].node
        match = node.op == "Convolution" and _BLOCK.match(node.name)
        if match:
            return match[1]
    raise InputError("no block of this network is known to permute channels; name one with --block")


def permutation_matrix(channels, groups):
    """Give P of a permutation: ``(P x)[j*groups + i] = x[i*(channels/groups) + j]``.

    IGCV1: the channels of each group are dealt out to all groups of the next
    convolution. The inverse is the transpose, which deals ``channels / groups`` groups.

    Returns
    -------
    numpy.ndarray, shape (channels, channels)
    """
    matrix = np.zeros((channels, channels))
    source = np.arange(channels).reshape(groups, -1).T.ravel()
    matrix[np.arange(channels), source] = 1
    return matrix


def dense_kernel(weight, groups):
    """Write a group convolution as one with a single group, with zeros between groups.

    Parameters
    ----------
    weight : numpy.ndarray, shape (out, in / groups, h, w)
    groups : int

    Returns
    -------
    numpy.ndarray, shape (out, in, h, w)
    """
    out, per_group, *window = weight.shape
    kernel = np.zeros((out, per_group * groups, *window), weight.dtype)
    for group in range(groups):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        kernel[rows, group * per_group : (group + 1) * per_group] = weight[rows]
    return kernel


def composed_kernel(chain, weights):
    """Multiply a block's linear layers into the kernel of one regular convolution.

    ``X' = P W_d P^T W_p X`` in IGCV1, ``P_L W_L ... P_1 W_1 X`` in IGCV2.

    Parameters
    ----------
    chain : list of Link
        At most one of them with a window larger than 1x1.
    weights : dict of str to numpy.ndarray
        Weights of the convolutions, by their layer's name.

    Returns
    -------
    numpy.ndarray, shape (out, in, h, w)

    Raises
    ------
    InputError
        When a second one has a window larger than 1x1.
    """
    composed = np.eye(chain[0].width_in)[:, :, None, None]
    for link in chain:
        if link.kind == "permutation":
            kernel = permutation_matrix(link.width, link.groups)[:, :, None, None]
        else:
            kernel = dense_kernel(np.asarray(weights[link.name], np.float64), link.groups)
        if 1 not in (kernel.shape[-1], composed.shape[-1]):
            raise InputError(f"{link.name}: a second window; the block is no single convolution")
        # of the two windows at least one is a single pixel, which numpy spreads over the other
        composed = np.einsum("omhw,mihw->oihw", *_spread(kernel, composed))
    return composed


def _spread(first, second):
    window = np.broadcast_shapes(first.shape[2:], second.shape[2:])
    return (np.broadcast_to(kernel, (*kernel.shape[:2], *window)) for kernel in (first, second))


def paths(chain):
    """Count the paths between channels, whatever the window.

    The entries of ``|P_L| |W_L| ... |P_1| |W_1|`` where each weight counts as 1 (IGCV2).

    Returns
    -------
    numpy.ndarray of int, shape (out, in)
    """
    ones = {link.name: link.ones() for link in chain}
    return composed_kernel(chain, ones)[:, :, 0, 0].round().astype(np.int64)


def complementary(counts):
    """Judge the complementary condition by the paths between channels.

    Strict (IGCV2): exactly one path joins any two channels, so that ``K_1 K_2 ... K_L = C``. Loose
    (IGCV3): any two are joined, all by the same number of paths, as where the condition holds for
    super-channels.

    Parameters
    ----------
    counts : numpy.ndarray of int, shape (out, in)
        From `paths`.

    Returns
    -------
    {"strict", "loose", None}
        None: some channels are not joined, or not alike.
    """
    if counts.min() < 1 or counts.min() != counts.max():
        return None
    return STRICT if counts.max() == 1 else LOOSE


def igc_parameters(primary, secondary, window=9):
    """Count the weights of an IGC block: ``L M^2 S + M L^2`` (IGCV1)."""
    return primary * secondary**2 * window + secondary * primary**2


def wider_than_regular(primary, secondary, window=9):
    """Tell whether an IGC block is wider than a regular convolution of as many weights.

    Its width L M exceeds that of the regular one when ``L / (L - 1) < M S`` (IGCV1).

    Parameters
    ----------
    primary, secondary : int
        L and M.
    window : int
        S, the pixels of the kernel.
    """
    return primary > 1 and primary / (primary - 1) < secondary * window


def regular_width(weights, window=9):
    """Give the width, no whole number, of a regular convolution of so many weights: ``W^2 S = T``.

    Parameters
    ----------
    weights : int
        T, such as `igc_parameters` counts.
    window : int
        S, the pixels of the kernel.
    """
    return math.sqrt(weights / window)


def igcv2_parameters(width, branches, window=9):
    """Count the weights of an IGCV2 block: ``C (S K_1 + K_2 + ... + K_L)`` (IGCV2).

    Parameters
    ----------
    width : int
        C.
    branches : sequence of float
        Channels of a branch in each convolution; the first one has the window.
    window : int
        S.
    """
    first, *others = branches
    return width * (window * first + sum(others))


def balanced_branches(width, layers, window=9):
    """Give the channels of a branch that need the fewest weights.

    The balance condition: ``S K_1 = K_2 = ... = K_L = (S C)^(1/L)`` (IGCV2); no whole
    numbers as a rule.

    Returns
    -------
    list of float
    """
    each = (window * width) ** (1 / layers)
    return [each / window] + [each] * (layers - 1)


def best_layers(width, window=9):
    """Give the number of convolutions that needs the fewest weights: ``ln(S C)``, not whole."""
    return math.log(window * width)


def whole_branches(width, layers=None, window=9):
    """Give the whole channels of a branch that need the fewest weights, with one path a pair.

    Among all ``K_1 K_2 ... K_L = C`` the one with the least ``S K_1 + K_2 + ... + K_L`` (IGCV2).

    Parameters
    ----------
    width : int
        C.
    layers : int, optional
        L; default: whatever is best. Branches of one channel fill up what the width lacks in
        factors.
    window : int
        S, of the first convolution.

    Returns
    -------
    list of int
        K_1 and then the others, the largest first.
    """
    candidates = []
    for first in (k for k in range(1, width + 1) if width % k == 0):
        for others in _factorings(width // first, width):
            if layers is not None:
                others = others + (1,) * (layers - 1 - len(others))
            if layers is None or len(others) == layers - 1:
                candidates.append((first, *others))
    return list(min(candidates, key=lambda each: (igcv2_parameters(width, each, window), each)))


def _factorings(number, largest):
    """Yield all ways to write a number as a product of descending factors above 1."""
    if number == 1:
        yield ()
    for factor in range(min(number, largest), 1, -1):
        if number % factor == 0:
            for rest in _factorings(number // factor, factor):
                yield (factor, *rest)


def four_branches(weight):
    """Write a regular convolution as an interleaved group convolution (IGCV1).

    The input's halves x1, x2 are laid side by side twice, as x1, x2, x1, x2; a primary group
    convolution of four partitions turns them into four parts of the output, which a permutation
    brings together by channel and a secondary one with weights of 1 adds in pairs::

        y1 = W_11 x1 + W_12 x2,    y2 = W_21 x1 + W_22 x2

    Parameters
    ----------
    weight : numpy.ndarray, shape (out, in, h, w)
        Even numbers of channels.

    Returns
    -------
    primary : numpy.ndarray, shape (2 out, in / 2, h, w)
        In four groups, of the doubled input (2 in channels).
    order : numpy.ndarray of int, shape (2 out,)
        ``y[order]`` permutes what the primary convolution gives.
    secondary : numpy.ndarray, shape (out, 2, 1, 1)
        In `out` groups.

    Raises
    ------
    InputError
        For an odd number of channels.
    """
    out, width = weight.shape[:2]
    if out % 2 or width % 2:
        raise InputError(f"four branches need even numbers of channels, not {out} and {width}")
    halves = [
        weight[rows * out // 2 : (rows + 1) * out // 2, part * width // 2 : (part + 1) * width // 2]
        for rows in (0, 1)
        for part in (0, 1)
    ]
    primary = np.concatenate(halves)
    # partitions 0 and 1 make up the first half of the output, 2 and 3 the second
    order = np.arange(2 * out).reshape(2, 2, out // 2).transpose(0, 2, 1).ravel()
    return primary, order, np.ones((out, 2, 1, 1), weight.dtype)
