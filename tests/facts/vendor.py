"""Gather the figures of the original networks into the compact files beside this script.

Run ``python tests/facts/vendor.py FOLDER`` where FOLDER holds one JSON file per network with the
keys name, settings, data_shape, args, aux, outputs, trainable_params, bn_affine_params, macs_conv
and macs_fc, made from the original code under MXNet 1.9.1.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# file here -> the networks that it gathers
FILES = {
    "igcv1_plain": r"igcv1_plain_d",
    "igcv1_resnet": r"igcv1_resnet_(igc_)?d\d+_",
    "igcv1_imagenet": r"igcv1_resnet_(igc_)?imgnet_",
    "igcv1_plain_igc": r"igcv1_(plain_igc|constwidth)_",
    "igcv2": r"igcv2_candidate_",
    "igcv3": r"igcv3_(m|g2g4_m|wider_m)",
    "dmrnet": r"dmr_[a-z0-9]+_d\d+",
    "dmrnet_imagenet": r"dmr_imagenet",
    "mobilenetv2": r"mobilenetv2_m",
    "released": r"released_",
    "detection": r"det_|igcv3_wide_cls",
}
RENAMED = {
    "L": "primary_partition",
    "M": "secondary_partition",
    "classes": "num_classes",
    "widen": "widen_factor",
}
CONSTANT_WIDTH = re.compile(r"igcv1_constwidth_d(\d+)_L(\d+)M(\d+)_cifar100")
IGCV2 = re.compile(r"igcv2_candidate_C(\d+)K(\d+)_d(\d+)_c(\d+)")
DMR_CLASSES = re.compile(r"dmr_\w+_cifar(\d+)")
DMR_MASTER = re.compile(r"dmr_imagenet_(symbol_\w+)")
DMR_2016 = re.compile(r"dmr_imagenet2016_(\w+)_(\d+)")


def settings_of(fact):
    """Give a network's settings under the names that `igc.symbol.get_symbol` knows."""
    if match := CONSTANT_WIDTH.match(fact["name"]):
        depth, primary, secondary = map(int, match.groups())
        return {
            "network": "plain_igc",
            "depth": depth,
            "primary_partition": primary,
            "secondary_partition": secondary,
            "width_growth": 1,
            "num_classes": 100,
        }
    if match := IGCV2.match(fact["name"]):
        width, branch, depth, classes = map(int, match.groups())
        return {
            "network": "igcv2",
            "depth": depth,
            "width": width,
            "branches": [branch, branch],
            "num_classes": classes,
        }
    if match := DMR_MASTER.match(fact["name"]):
        return {"network": match[1], "num_classes": 1000}
    if match := DMR_2016.match(fact["name"]):
        return {"network": f"dmr_{match[1]}_2016", "depth": int(match[2]), "num_classes": 1000}
    settings = {RENAMED.get(key, key): value for key, value in (fact.get("settings") or {}).items()}
    if match := DMR_CLASSES.match(fact["name"]):
        settings["num_classes"] = int(match[1])
        if settings["network"] in ("plain", "resnet"):
            settings["network"] = f"dmr_{settings['network']}"
    return settings


def compact(facts):
    """Group networks that share their names, and write each shape as text such as 32x3x3x3."""
    groups = {}
    for fact in facts:
        names = tuple(" ".join(name for name, _ in fact[key]) for key in ("args", "aux"))
        group = groups.setdefault(
            names, {"arguments": names[0], "auxiliary": names[1], "networks": []}
        )
        group["networks"].append(
            {
                "name": fact["name"],
                "settings": settings_of(fact),
                "outputs": fact["outputs"],
                "parameters": fact["trainable_params"],
                "batch_norm_parameters": fact["bn_affine_params"],
                "multiply_adds": fact["macs_conv"] + fact["macs_fc"],
                "argument_shapes": _shapes(fact["args"]),
                "auxiliary_shapes": _shapes(fact["aux"]),
            }
        )
    return list(groups.values())


def _shapes(pairs):
    return " ".join("x".join(map(str, shape)) for _, shape in pairs)


def main(folder):
    """Write one file for each entry of `FILES`."""
    paths = sorted(path for path in Path(folder).glob("*.json") if path.name[0] != "_")
    for name, pattern in FILES.items():
        chosen = [path for path in paths if re.match(pattern, path.name)]
        groups = compact([json.loads(path.read_text(encoding="utf-8")) for path in chosen])
        text = json.dumps(groups, indent=1)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{name}.json: {sum(len(group['networks']) for group in groups)} networks")


if __name__ == "__main__":
    main(*sys.argv[1:])
