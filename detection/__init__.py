"""Detection: SSDLite2 (IGCV3, BMVC 2018, section 4.4) on any backbone of `igc.symbol`.

- `boxes`: the label of a detection record: what it holds, how it is written and checked;
- `source`: labelled images with boxes, out of a RecordIO pack;
- `voc`, `coco`: annotations, read; `pack`: their boxes checked and packed; `classes`: their names;
- `tally`: boxes counted.
"""
