"""Images from files to batches. Importing this package imports neither MXNet nor OpenCV.

Where things are:

- `recordio`: RecordIO packs (``.rec`` + ``.idx``), read and written; `frames`, `index`: their
  bytes; `encoded`: images before they are decoded;
- `sources`: where images come from: packs, arrays, the digits;
- `datasets`: the table of data sets: sizes, means, file names;
- `augment`: what may be done to an image, and the originals' presets;
- `draws`, `plan`: which random numbers, and which images in which batch;
- `memory`, `stream`: two ways to make a batch: decoded in memory, or record by record;
- `loaders`: `open_training` and `open_evaluation`, which put these together;
- `survey`, `bad`, `skip`: damaged packs: their records, the bad ones, reading without these;
- `prepare`: the command line of ``prepare_data.py``; `archives`, `folders`, `verify`: its work,
  and for packs with boxes `igc.detection`.
"""

import os

MOST_PIXELS = 1 << 26  # of an image: 8192 x 8192

# OpenCV reads it when it is imported: a damaged header shall not claim gigabytes.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))
