"""Labelled images with boxes, out of a RecordIO pack."""

from igc.data import recordio
from igc.detection import boxes


class BoxSource:
    """The images of a detection pack.

    Parameters
    ----------
    path : str
        The ``.rec`` file.
    num_classes : int, optional
        Classes must be less. Default: any.
    """

    def __init__(self, path, num_classes=None):
        self.name, self._num_classes = path, num_classes
        self._file = recordio.RecordFile(path)

    def __len__(self):
        return len(self._file)

    def where(self, number):
        """Name image `number` in a message."""
        return self._file.where(number)

    def boxes(self, number):
        """Read the boxes of an image alone, as `igc.detection.boxes.parse` gives them."""
        record = self._file.read(number)
        return boxes.parse(record.label, record.where, self._num_classes)

    def read(self, number):
        """Read an image and its boxes.

        Returns
        -------
        image : numpy.ndarray of uint8, shape (height, width, 3)
            Red, green, blue.
        boxes : numpy.ndarray of float32, shape (boxes, 6)
            Columns as `igc.detection.boxes.COLUMNS`.

        Raises
        ------
        InputError
            When the record or its label is damaged.
        """
        record = self._file.read(number)
        found = boxes.parse(record.label, record.where, self._num_classes)
        return recordio.decode(record), found
