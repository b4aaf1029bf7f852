"""Every network at a setting that is quick to compute."""

from igc import symbol as symbols

SMALL = {
    "plain": {"depth": 8, "primary_partition": 6, "secondary_partition": 2},
    "plain_igc": {"depth": 8, "primary_partition": 6, "secondary_partition": 2},
    "resnet": {"depth": 8, "primary_partition": 6, "secondary_partition": 2},
    "resnet_igc": {"depth": 8, "primary_partition": 6, "secondary_partition": 2},
    "resnet_imgnet_d18": {"primary_partition": 8},
    "resnet_igc_imgnet_d18": {"primary_partition": 4, "secondary_partition": 2},
    "mobilenetv2": {"multiplier": 0.25},
    "igcv3": {"multiplier": 0.25, "blocks": (1, 2, 2, 2, 2, 2, 1)},
    "igcv3_wider": {"multiplier": 0.25},
    "igcv3_g2g4": {"multiplier": 0.25, "blocks": (1, 2, 2, 2, 2, 2, 1)},
    "igcv3_cifar": {"multiplier": 0.25, "blocks": (1, 2, 2, 2, 2, 2, 1)},
    "igcv3_wide": {},
    "mobilenetv2_ssd": {},
    "igcv2": {"depth": 8, "width": 12, "branches": "4,3"},
    "igcv2_imgnet": {"multiplier": 0.25},
    "dmr_plain": {"depth": 8},
    "dmr_resnet": {"depth": 8},
    "half": {"depth": 14},
    "side": {"depth": 14},
    "cross": {"depth": 26},
    "fuse3": {"depth": 14},
    "fuse6": {"depth": 14},
    "ensemble": {"depth": 8},
    "symbol_resnet": {},
    "symbol_cross": {},
    "dmr_resnet_2016": {"depth": 50},
    "dmr_cross_2016": {"depth": 50},
}


def size_of(name):
    """Give the side of images that a network takes and that is quick to compute."""
    side = symbols.find_network(name).image_shape[1]
    if name == "igcv3_wide":  # of few values, one beside the kink of a ReLU6 weighs too much
        return 128
    return min(side, 64) if name.startswith(("igcv3", "mobilenet", "igcv2_imgnet")) else side
