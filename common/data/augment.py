"""What may be done to an image before the network sees it, with the originals' names and presets.

The meaning of each setting is that of MXNet's default augmenter
(``src/io/image_aug_default.cc``), which the originals used; `igc.data.geometry` carries it out.
"""

from dataclasses import dataclass

from igc.errors import InputError

# Settings that the vectorised loader for small images knows; any other needs OpenCV per image.
_SIMPLE = {"pad", "rand_crop", "rand_mirror"}


@dataclass(frozen=True)
class Augmentation:
    """Settings of the augmentation; the defaults do nothing but a centre crop.

    The order is: resize, affine transformation, pad, crop, colour, mirror; then the mean is
    subtracted and the result divided by the deviation (quirk Q21 of the originals' order).

    Attributes
    ----------
    resize : int
        Length in pixels of the short side before anything else; 0 leaves it.
    min_random_scale, max_random_scale : float
        The image is scaled by a factor drawn between them.
    max_aspect_ratio : float
        Height to width is changed by a factor drawn from 1 ± this; the mean of both scales stays.
    max_rotate_angle : int
        Rotation by a whole number of degrees drawn from ± this.
    max_shear_ratio : float
        Shear drawn from ± this.
    min_img_size : int
        Least height and width of the canvas after the affine transformation. A smaller image is
        not enlarged but surrounded by the fill colour.
    pad : int
        Pixels of the fill colour, the rounded mean of each channel, on each side.
    rand_crop : bool
        Crop at a random place instead of the centre.
    random_h, random_s, random_l : int
        A whole number from ± this is added to hue (0 to 180), saturation and lightness (0 to 255).
    rand_mirror : bool
        Mirror left to right in half of the cases.
    inter_method : int
        0 nearest, 1 bilinear, 2 bicubic, 3 area, 4 Lanczos, 9 by size: bicubic for enlarging, area
        for shrinking (bilinear in affine transformations).
    """

    resize: int = 0
    min_random_scale: float = 1.0
    max_random_scale: float = 1.0
    max_aspect_ratio: float = 0.0
    max_rotate_angle: int = 0
    max_shear_ratio: float = 0.0
    min_img_size: int = 0
    pad: int = 0
    rand_crop: bool = False
    random_h: int = 0
    random_s: int = 0
    random_l: int = 0
    rand_mirror: bool = False
    inter_method: int = 1

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            if getattr(self, name) < 0:
                raise InputError(f"augmentation: {name} {getattr(self, name)} is negative")
        if not 0 < self.min_random_scale <= self.max_random_scale:
            raise InputError(
                f"--min-random-scale {self.min_random_scale}, --max-random-scale "
                f"{self.max_random_scale}: must be positive and in this order"
            )
        if self.max_aspect_ratio >= 1:
            raise InputError(
                f"--max-random-aspect-ratio {self.max_aspect_ratio}: must be less than 1"
            )
        if self.inter_method not in (0, 1, 2, 3, 4, 9):
            raise InputError(
                f"inter_method {self.inter_method}: takes 0, 1, 2, 3, 4 or 9 (by size)"
            )

    @property
    def is_simple(self):
        """bool: Whether it consists of pad, crop and mirror alone."""
        default = Augmentation()
        return all(
            name in _SIMPLE or name == "inter_method" or getattr(self, name) == value
            for name, value in vars(default).items()
        )

    @property
    def is_affine(self):
        """bool: Whether it has an affine transformation, which draws four numbers."""
        return (
            self.min_random_scale != 1
            or self.max_random_scale != 1
            or self.max_aspect_ratio != 0
            or self.max_rotate_angle != 0
            or self.max_shear_ratio != 0
            or self.min_img_size != 0
        )

    @property
    def draw_names(self):
        """tuple of str: What has to be drawn for each image (`igc.data.draws`)."""
        names = []
        if self.is_affine:
            names += ["shear", "angle", "scale", "aspect"]
        if self.rand_crop:
            names += ["crop_y", "crop_x"]
        if self.random_h or self.random_s or self.random_l:
            names += ["h", "s", "l"]
        if self.rand_mirror:
            names += ["mirror"]
        return tuple(names)


NONE = Augmentation()

SMALL = {
    0: NONE,
    1: Augmentation(pad=4, rand_crop=True, rand_mirror=True),
    2: Augmentation(rand_crop=True, rand_mirror=True),
}
"""``--aug-type`` of train_model.py (IGCV1 ``train_model.py``)."""

DIGITS = {0: NONE, 1: Augmentation(pad=2, rand_crop=True), 2: Augmentation(rand_crop=True)}
"""The same for the digits, whose mirror images are no digits."""

_IGCV1_BASE = {"rand_crop": True, "rand_mirror": True, "min_img_size": 256, "inter_method": 9}

IGCV1_IMAGENET = {
    0: Augmentation(min_random_scale=0.533, max_random_scale=0.533, **_IGCV1_BASE),
    1: Augmentation(
        min_random_scale=0.533,
        max_aspect_ratio=0.25,
        random_h=36,
        random_s=50,
        random_l=50,
        **_IGCV1_BASE,
    ),
}
"""``--aug-type`` of IGCV1's train_imagenet.py, made for images of short side 480."""

IGCV1_IMAGENET_VAL = Augmentation(
    min_random_scale=0.533, max_random_scale=0.533, min_img_size=256, inter_method=9
)
"""IGCV1's validation: 480 scaled to 256 pixels, centre crop."""

IGCV3_IMAGENET = Augmentation(
    min_random_scale=0.533,
    rand_crop=True,
    rand_mirror=True,
    random_h=36,
    random_s=50,
    random_l=50,
)
"""IGCV3's training: level 2 of ``set_data_aug_level`` (``common/data.py``) and, as a flag of the
script, ``min_random_scale`` 0.533."""

IGCV3_IMAGENET_VAL = Augmentation(min_random_scale=0.533, max_random_scale=0.534)
"""IGCV3's validation, for images of short side 480 only (quirk Q24)."""


def resized_centre(image_shape, short_side=None):
    """Give the usual validation: resize the short side, crop the centre. Fits images of any size.

    Parameters
    ----------
    image_shape : (int, int, int)
        Channels, height, width of the crop.
    short_side : int, optional
        Default: 8/7 of the crop, 256 for 224.

    Returns
    -------
    Augmentation
    """
    if short_side is None:
        short_side = round(max(image_shape[1:]) * 8 / 7)
    return Augmentation(resize=short_side, inter_method=9)
