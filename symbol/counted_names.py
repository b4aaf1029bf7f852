"""Parameters whose names MXNet counted: what the IGCV3 repository's detectors left unnamed.

A batch normalisation or addition without a name gets the number of those before it *in the
process*: ``batchnorm60_gamma`` in one run is ``batchnorm3_gamma`` in another. The order is always
that of the source's calls; so the k-th of a file is the k-th of the network (quirk Q39).
"""

import re

_COUNTED = re.compile(r"^(batchnorm|fullyconnected|_minimumscalar)(\d+)_(.+)$")
_OWNER = re.compile(r"^((?:blk|final).*)_bn_(?:gamma|beta|moving_mean|moving_var)$")
_SHORTCUT = re.compile(r"^blk\d+_(?:igc|skip)")
_HEAD = re.compile(r"^(multi_feat_\d+)_(?:loc|cls)_pred")
_CLASSIFIER = "fc"


def explicit(given, expected):
    """Find a file's counted names among a network's own.

    Parameters
    ----------
    given : iterable of str
        Names in the file.
    expected : iterable of str
        Names that the network has, in the order of its arguments.

    Returns
    -------
    dict of str to str
        The file's name -> the network's, for those that were counted. Empty when the file has none,
        or not as many as the network.
    """
    found, expected = {}, list(expected)
    for name in given:
        match = _COUNTED.match(name)
        if match and name not in expected:
            found.setdefault(match[1], {}).setdefault(int(match[2]), []).append((name, match[3]))
    own = {
        "batchnorm": _in_order_of_calls(expected),
        "fullyconnected": [_CLASSIFIER] if f"{_CLASSIFIER}_weight" in expected else [],
        "_minimumscalar": _unique(_HEAD.match(name) for name in expected),
    }
    renamed = {}
    for kind, numbers in found.items():
        if len(numbers) != len(own[kind]):
            continue
        for number, layer in zip(sorted(numbers), own[kind], strict=True):
            renamed.update((name, f"{layer}_{rest}") for name, rest in numbers[number])
    return renamed


def _in_order_of_calls(expected):
    """List the batch normalisations as the source makes them: a block's shortcut comes last."""
    layers = [f"{owner}_bn" for owner in _unique(_OWNER.match(name) for name in expected)]
    blocks = _unique(re.match(r"blk\d+|final", layer) for layer in layers)
    place = {block: number for number, block in enumerate(blocks)}

    def key(layer):
        block = re.match(r"blk\d+|final", layer)[0]
        return place[block], bool(_SHORTCUT.match(layer))

    return sorted(layers, key=key)


def _unique(matches):
    return list(dict.fromkeys(match[match.lastindex or 0] for match in matches if match))
