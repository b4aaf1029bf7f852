"""The outputs of one network as an ONNX file and in MXNet."""

from igc import initial
from igc import symbol as symbols
from igc.onnx import exporting, parity


def differences(path, image_shape, folder):
    """Compare a network with random weights in both engines; as `torch_differences` does.

    Parameters
    ----------
    path : str
        Of the symbol file.
    image_shape : tuple of int
    folder : str
        Unused.

    Returns
    -------
    dict of str to dict
        By engine, "max_abs" and "max_rel" (of the image where it is largest) of the logits; of the
        probabilities where a network has several heads.
    """
    symbol = symbols.load_symbol(path, "stock")
    arguments, states = initial.weights(symbol, image_shape, seed=0)
    arguments, states = initial.settled(symbol, arguments, states, image_shape, seed=0)
    logits = len(symbol.list_outputs()) == 1
    model, _ = exporting.build(symbol, arguments, states, image_shape, logits)
    made = {"logits" if logits else "probabilities": model}
    return {
        found.engine: {"max_abs": found.largest, "max_rel": found.share}
        for found in parity.differences(made, symbol, arguments, states)
    }
