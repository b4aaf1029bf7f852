"""Baselines from gluon-cv's model zoo: ``gluoncv/mobilenet1.0``, ``gluoncv/cifar_resnet20_v1``, ...

A well-kept zoo in place of our own copies. It is an extra, ``[zoo]``; gluon-cv refuses to be
imported beside PyTorch 2.
"""

import difflib
import re

from igc.errors import InputError
from igc.symbol.registry import OPERATOR, Network, named

PREFIX = "gluoncv/"
# what the zoo has besides classifiers of images: detection, segmentation, poses, video, ...
_OTHERS = re.compile(
    r"^(yolo3|ssd|faster_rcnn|mask_rcnn|center_net|custom_|doublehead|fcn|psp|deeplab|icnet|danet|"
    r"fastscnn|bisenet|simple_pose|alpha_pose|mobile_pose|i3d|c3d|p3d|r2plus1d|slowfast|monodepth|"
    r"siamrpn|smot|ucf101|kinetics|actionrec|inceptionv\d_\w|resnet\d+_v1b_(sthsth|kinetics|hmdb|ucf)|"
    r"\w+_(ucf101|hmdb51|kinetics400|kinetics700|sthsthv2|voc|coco|ade|citys|custom|pascal)\b|"
    r"\w+_int8|hrnet_\w+_s$)"
)
# sides of images other than CIFAR's 32 and ImageNet's 224
SIDES = {"inceptionv3": 299, "xception": 299, "xception71": 299}


def find(name):
    """Find a network of the zoo.

    Parameters
    ----------
    name : str
        ``"gluoncv/<name>"``, in any case.

    Returns
    -------
    igc.symbol.registry.Network
        Whose only setting is `operator`, which changes nothing.

    Raises
    ------
    InputError
        When gluon-cv is not installed or has no such network.
    """
    model = name.lower().removeprefix(PREFIX)
    known = _names()
    if model not in known:
        nearest = difflib.get_close_matches(model, known, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
        raise InputError(f"gluon-cv has no network {model!r}{hint}")
    if _OTHERS.search(model):
        raise InputError(f"gluoncv/{model}: is no classifier of images; choose one that is")
    side = 32 if model.startswith("cifar_") else SIDES.get(model, 224)
    classes = 10 if side == 32 else 1000
    settings = {"operator": named(OPERATOR, "operator")}

    def build(num_classes, operator):
        return _symbol(model, num_classes, side)

    return Network(PREFIX + model, build, classes, (3, side, side), settings)


def _names():
    try:
        from gluoncv.model_zoo import get_model_list
    except (ImportError, RuntimeError) as error:  # the second beside PyTorch 2
        raise InputError(
            f"gluon-cv cannot be imported ({error}); run: pip install '.[zoo]' && pip install "
            "--no-deps gluoncv==0.10.5.post0, in an environment without PyTorch"
        ) from error
    return list(get_model_list())


def _block(get_model, model, num_classes):
    settings = {"classes": num_classes, "pretrained": False}
    try:
        # no prefix: names of parameters do not depend on what was built before
        return get_model(model, **settings, prefix="")
    except TypeError as error:
        if "prefix" not in str(error):
            raise
        return get_model(model, **settings)


def _symbol(model, num_classes, side):
    import mxnet
    from gluoncv.model_zoo import get_model

    try:
        block = _block(get_model, model, num_classes)
        scores = block(mxnet.sym.Variable("data"))
        _, shapes, _ = scores.infer_shape(data=(1, 3, side, side))
    except (TypeError, ValueError, AttributeError, OSError, mxnet.MXNetError) as error:
        reason = str(error).strip().splitlines() or ["?"]
        raise InputError(
            f"gluoncv/{model}: cannot be built as a classifier: {reason[0]}"
        ) from error
    if shapes != [(1, num_classes)]:
        raise InputError(f"gluoncv/{model}: is no classifier of {side}x{side} images")
    return mxnet.sym.SoftmaxOutput(scores, name="softmax")
