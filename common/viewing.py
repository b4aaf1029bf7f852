"""How an image becomes what a network sees: normalisation and crop, as a checkpoint was trained."""

from igc.data import augment
from igc.recipes import RECIPES

_SMALL = 64  # pixels; networks for images up to it see them whole
# padding that gives an image of the crop's own size ten different crops
_TEN_CROP_PAD = 4


def is_small(image_shape):
    """Tell whether a network sees whole small images, not a crop of large ones."""
    return max(image_shape[1:]) <= _SMALL


def normalisation(symbol_file, dataset, recipe):
    """Give mean and deviation: the training's, else what the network's authors took.

    Parameters
    ----------
    symbol_file : str
    dataset : igc.data.datasets.Dataset
    recipe : dict
        What the training noted, empty for foreign checkpoints.

    Returns
    -------
    mean, std : (float, float, float)
        Of red, green, blue.
    """
    if not recipe and dataset.name == "imagenet" and _is_igcv3(symbol_file):
        return RECIPES["igcv3-imagenet"].mean, RECIPES["igcv3-imagenet"].std
    return tuple(recipe.get("mean", dataset.mean)), tuple(recipe.get("std", dataset.std))


def _is_igcv3(symbol_file):
    """Tell whether a network is of IGCV3's repository, by the name of its first layer."""
    with open(symbol_file, encoding="utf-8") as file:
        return "first-3x3-conv-conv2d" in file.read()


def of_packs(image_shape, trained=None, short_side=None, crops=1):
    """Choose the view of images that were packed for this network.

    Parameters
    ----------
    image_shape : (int, int, int)
    trained : dict, optional
        The validation's settings that the training noted.
    short_side : int, optional
        Pixels before the crop.
    crops : {1, 10}

    Returns
    -------
    igc.data.augment.Augmentation
    """
    if trained and crops == 1 and short_side is None:
        return augment.Augmentation(**trained)
    if short_side or not is_small(image_shape):
        return augment.resized_centre(image_shape, short_side)
    if crops == 10:
        return augment.Augmentation(pad=_TEN_CROP_PAD)
    return augment.NONE


def of_any_size(image_shape, trained=None):
    """Choose the view of images of any size: the short side resized, the centre cropped.

    Where the validation resizes to a fixed length, that is taken. Some validations scale by a
    factor that is made for packs of one size: they come to 8/7 of the crop, which is taken here.

    Parameters
    ----------
    image_shape, trained
        As of `of_packs`.

    Returns
    -------
    igc.data.augment.Augmentation
    """
    short_side = (trained or {}).get("resize")
    if not short_side and is_small(image_shape):
        short_side = max(image_shape[1:])
    return augment.resized_centre(image_shape, short_side or None)
