"""Spans without MXNet: src_operator/span/span.h and its plain reference, by ctypes."""

import ctypes
import dataclasses
import functools

import numpy as np

from igc.operator.library import LIBRARY

_FLOATS = ctypes.POINTER(ctypes.c_float)


class NativeSpan:
    """A planned program.

    Parameters
    ----------
    program : str
    shape : tuple of int
        Channels, height, width of the data.
    reference : bool, optional
        Whether to use the plain reference (``igc_span_reference_*``).
    isa : str, optional
        Which instruction set; the best one by default. Ending in " measured": see `measurements`.
    library : str, optional
        Another shared library.
    """

    def __init__(self, program, shape, reference=False, isa=None, library=LIBRARY):
        if len(shape) != 3:
            raise ValueError(f"data of channels, height and width is wanted, not of shape {shape}")
        self._library = ctypes.CDLL(str(library))
        self._prefix = "igc_span_reference_" if reference else "igc_span_"
        error = ctypes.create_string_buffer(1000)
        self._span = ctypes.c_void_p(
            self._function("create", ctypes.c_void_p)(
                program.encode(),
                *map(ctypes.c_int64, shape),
                None if isa is None else isa.encode(),
                error,
                ctypes.c_size_t(len(error)),
            )
        )
        if not self._span:
            raise ValueError(error.value.decode())

    def __del__(self):
        if getattr(self, "_span", None):
            self._function("destroy", None)(self._span)

    @property
    def shape(self):
        """Channels, height, width of the result."""
        sizes = (ctypes.c_int64 * 3)()
        self._function("output_shape", None)(self._span, sizes)
        return tuple(sizes)

    @functools.cached_property
    def parameter_shapes(self):
        """The shape of each parameter."""
        shapes = []
        for k in range(self._function("parameter_count", ctypes.c_int)(self._span)):
            sizes = (ctypes.c_int64 * 4)()
            count = self._function("parameter_shape", ctypes.c_int)(self._span, k, sizes)
            shapes.append(tuple(sizes[:count]))
        return shapes

    @functools.cached_property
    def states(self):
        """The numbers of the parameters that are moving means or variances."""
        is_state = self._function("parameter_is_state", ctypes.c_int)
        return [k for k in range(len(self.parameter_shapes)) if is_state(self._span, k)]

    @property
    def bytes(self):
        """Bytes kept between calls."""
        return self._function("bytes", ctypes.c_size_t)(self._span)

    def release(self):
        """Give back what is kept between calls."""
        self._function("release", None)(self._span)

    def infer(self, data, parameters, version=0, threads=1):
        """Evaluate; returns (N, C, H, W)."""
        result = np.full((len(data), *self.shape), np.nan, "float32")
        self._call("infer", data, parameters, ctypes.c_uint64(version), address(result), threads)
        return result

    def forward(self, data, parameters, states=None, threads=1):
        """The forward pass of training; arrays in `states`, by number, are changed."""
        result = np.full((len(data), *self.shape), np.nan, "float32")
        if states is not None:
            states = addresses([states.get(k) for k in range(len(parameters))])
        self._call("forward", data, parameters, states, address(result), threads)
        return result

    def backward(self, data, parameters, head, want_data=True, want=None, threads=1):
        """The gradients of the data and, by number, of the parameters in `want`."""
        learned = [k for k in range(len(parameters)) if k not in self.states]
        want = learned if want is None else want
        data_gradient = np.full(data.shape, np.nan, "float32") if want_data else None
        found = {k: np.full(parameters[k].shape, np.nan, "float32") for k in want}
        self._call(
            "backward",
            data,
            parameters,
            address(head),
            address(data_gradient),
            addresses([found.get(k) for k in range(len(parameters))]),
            threads,
        )
        return data_gradient, found

    def _call(self, name, data, parameters, *rest):
        function = self._function(name, ctypes.c_char_p)
        batch = ctypes.c_int64(len(data))
        wrong = function(self._span, batch, address(data), addresses(parameters), *rest)
        if wrong is not None:
            raise ValueError(wrong.decode())

    def _function(self, name, result):
        function = getattr(self._library, self._prefix + name)
        function.restype = result
        return function


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What calls of one kind have done; `igc_span_measurements` of span.h says it in full."""

    kernel: str
    way: str
    taps: int
    step: int
    inputs: int
    outputs: int
    width: int
    calls: int
    nanoseconds: int
    multiply_adds: int
    bytes: int


def instruction_sets(library=LIBRARY):
    """List the instruction sets that the library can use here, best first."""
    function = ctypes.CDLL(str(library)).igc_span_isas
    function.restype = ctypes.c_char_p
    return function().decode().split()


def measurements(library=LIBRARY):
    """Take what the span that was last created as "... measured" has done since the last call.

    Returns
    -------
    list of Measurement
        Times are summed over threads.
    """
    function = ctypes.CDLL(str(library)).igc_span_measurements
    function.restype = ctypes.c_char_p
    rows = [line.split("\t") for line in function().decode().splitlines()]
    return [Measurement(kernel, way, *map(int, rest)) for kernel, way, *rest in rows]


def supports(program, channels, reference=False, library=LIBRARY):
    """Return None, or what is wrong with a program."""
    prefix = "igc_span_reference_" if reference else "igc_span_"
    function = getattr(ctypes.CDLL(str(library)), f"{prefix}supports")
    function.restype = ctypes.c_char_p
    wrong = function(program.encode(), ctypes.c_int64(channels))
    return None if wrong is None else wrong.decode()


def address(array):
    """Give the address of a float32 array; None for None."""
    if array is None:
        return None
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    return array.ctypes.data_as(_FLOATS)


def addresses(arrays):
    """Give a C array of the addresses of arrays, of which some may be None."""
    return (_FLOATS * len(arrays))(*[address(array) or _FLOATS() for array in arrays])
