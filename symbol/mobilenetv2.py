"""`mobilenetv2`, the network that IGCV3 is compared with and built from.

Source: MobileNetV2 (CVPR 2018, table 2), as written in the IGCV3 repository's
symbols/mobilenetv2.py.
"""

from igc.symbol import inverted_residual
from igc.symbol.inverted_residual import BLOCKS, LAST, MULTIPLIER, STEM, STRIDES_SETTING, Stage
from igc.symbol.registry import register

# expansion, width, blocks; the strides are a setting
TABLE = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)


@register(
    num_classes=1000,
    image_shape=(3, 224, 224),
    multiplier=MULTIPLIER,
    blocks=BLOCKS,
    strides=STRIDES_SETTING,
)
def mobilenetv2(num_classes, multiplier, blocks, strides, operator):
    """Build MobileNetV2 with all widths times `multiplier`; the last one never shrinks."""
    stem = round(STEM * multiplier)
    stages, width_in = [], stem
    for index, (expansion, width, count) in enumerate(TABLE):
        scaled = round(width * multiplier)
        stages.append(
            Stage(
                expansion,
                scaled,
                blocks[index] if blocks else count,
                strides[index + 1],
                width_in,
            )
        )
        width_in = scaled
    last = int(LAST * multiplier) if multiplier > 1 else LAST
    return inverted_residual.build(
        operator,
        stem,
        stages,
        last,
        inverted_residual.Block(relus=("expand", "depthwise")),
        strides,
        num_classes,
    )
