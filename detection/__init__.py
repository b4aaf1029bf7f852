"""Detection: SSDLite2 (IGCV3, BMVC 2018, section 4.4) on any backbone of `igc.symbol`.

- `boxes`: the label of a detection record: what it holds, how it is written and checked;
- `source`: labelled images with boxes, out of a RecordIO pack;
- `voc`, `coco`: annotations, read; `pack`: their boxes checked and packed; `classes`: their names;
- `tally`: boxes counted;
- `ssd`: the network; `augment`, `renderer`: what its training sees;
- `job`, `task`, `losses`, `lines`, `fit`, `validation`, `options_train`: what `igc.run` and its
  loop do otherwise for a detector (`train_ssd.py`);
- `view`: how an image of any size becomes what a detector sees;
- `detector`: a trained network as a detector; `engines` compute it, `suppression` changes how it
  thins out overlapping boxes;
- `finding`, `drawing`: what `detect.py` tells and draws;
- `scores`: mean average precision of VOC and COCO; `evaluation`, `options_evaluate`, `report` and
  `curves` are `evaluate_ssd.py`.
"""
