"""Image files as a source of images, without labels."""

from igc.data.recordio import decode_image
from igc.errors import InputError

_LONGEST = 50  # times the short side, which is what gets resized to a fixed length


class ImageFiles:
    """Images of any size, each in a file of its own.

    Parameters
    ----------
    paths : list of str
        Of any format that OpenCV reads.
    """

    def __init__(self, paths):
        self.paths = list(paths)

    def __len__(self):
        return len(self.paths)

    def where(self, number):
        """Name image `number` in a message."""
        return self.paths[number]

    def read(self, number):
        """Read an image.

        Returns
        -------
        image : numpy.ndarray of uint8, shape (height, width, 3)
            Red, green, blue, turned as its camera says.
        label : float
            Always 0: there is none.

        Raises
        ------
        InputError
            When the file cannot be read or is no image, or is cut short.
        """
        path = self.paths[number]
        try:
            with open(path, "rb") as file:
                payload = file.read()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        image = decode_image(payload)
        if image is None:
            raise InputError(
                f"{path}: holds no image that can be decoded ({len(payload)} bytes); give a whole "
                "PNG, JPEG, WebP, BMP or TIFF file"
            )
        height, width = image.shape[:2]
        if max(height, width) > _LONGEST * min(height, width):
            raise InputError(
                f"{path}: is {height} pixels high and {width} wide; crop it, its sides may differ "
                f"by a factor of {_LONGEST}"
            )
        return image, 0.0
