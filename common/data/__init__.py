"""Images from files to batches. Importing this package imports neither MXNet nor OpenCV.

Where things are:

- `recordio`: RecordIO packs (``.rec`` + ``.idx``), read and written; `frames`, `index`: their
  bytes;
- `sources`: where images come from: packs, arrays, the digits;
- `datasets`: the table of data sets: sizes, means, file names;
- `augment`: what may be done to an image, and the originals' presets;
- `draws`, `plan`: which random numbers, and which images in which batch;
- `memory`, `stream`: two ways to make a batch: decoded in memory, or record by record;
- `loaders`: `open_training` and `open_evaluation`, which put these together;
- `prepare`: the command line of ``prepare_data.py``; `archives`, `folders`, `verify`: its work.
"""
