"""The native operators of interleaved group convolutions.

`reorder` permutes channels: the permutation between the primary and the secondary group
convolution. It takes a Symbol or an NDArray, and so also what Gluon's ``hybrid_forward`` gets.
`reorder_reference` is the same in NumPy. `load` makes the compiled operator ``Reorder`` known to
MXNet; `reorder` calls it by itself, reading symbol files that contain ``Reorder`` needs it before.

`interleaved_group_convolution` is a whole block as one operator, ``InterleavedGroupConvolution``:
both group convolutions with a permutation after each.

`igc.operator.span` describes ``InterleavedSpan``, a run of layers as one operator, and
`igc.operator.native_span` calls the same library without MXNet, also to measure its inner loops.

What the raw operators, such as ``mx.sym.Reorder`` and ``mx.nd.Reorder``, cannot do
-----------------------------------------------------------------------------------
MXNet does not tell an operator of an extension library everything it tells its own ones.

- It is not told to *add* to a gradient, and overwrites it. Gradients are wrong with
  ``grad_req='add'`` on the variable that it reads, and where a tensor that it reads has eight or
  more consumers. The functions here are right in both cases: an identity in front of each input
  does the adding.
- It needs its input's shape. ``infer_shape`` and ``infer_shape_partial`` without the shape of the
  data end in ``std::bad_alloc``; a size that is not known (0) is refused. Of a weight some sizes
  may be unknown, but not all: its variable needs a ``shape``.
- Its backward pass keeps its input and output alive, though it needs neither.
- ``mx.nd.Reorder`` takes its data by position only: ``mx.nd.Reorder(x, branch_factor=2)``.
- A name is no part of its errors outside a graph. Inside one, MXNet names the node.
"""

from igc.operator.interleaved import (
    interleaved_group_convolution,
    interleaved_group_convolution_gradients_reference,
    interleaved_group_convolution_reference,
)
from igc.operator.library import has_kernels, is_built, load
from igc.operator.permutation import reorder, reorder_reference

__all__ = [
    "has_kernels",
    "interleaved_group_convolution",
    "interleaved_group_convolution_gradients_reference",
    "interleaved_group_convolution_reference",
    "is_built",
    "load",
    "reorder",
    "reorder_reference",
]
