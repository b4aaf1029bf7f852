"""The command line of ``train_torch.py``: that of ``train_model.py``, and what PyTorch adds."""

import os

from igc import options_model
from igc.errors import InputError

_DESCRIPTION = "Train a network in PyTorch, as train_model.py does in MXNet; MXNet is not needed."
_EPILOG = """examples:
  python train_torch.py --symbol=net-symbol.json --params=net-0000.params --device=cuda --amp=bf16
  python train_torch.py --network=resnet_igc --depth=14 --primary-partition=24 \\
      --secondary-partition=2 --rand-seed=1     # MXNet builds the network
"""
# what train_model.py has, and a training here has not: by flag, the way out
_ELSEWHERE = {
    "gpus": "choose --device=cuda or --device=cpu",
    "kv_store": "one process trains on one device here; train_model.py has several",
    "ema": "train_model.py averages weights",
}


def parser():
    """Build the parser."""
    parser = options_model.parser(in_pytorch=True)
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    group = parser.add_argument_group("PyTorch")
    add = group.add_argument
    add(
        "--symbol",
        help="the network's -symbol.json; --network then chooses nothing but the recipe",
    )
    add("--params", help="the .params to begin with; of --symbol")
    add("--device", default="cpu", help="cpu, cuda or cuda:1 (cpu)")
    add("--amp", choices=("bf16", "fp16"), help="compute convolutions with shorter numbers")
    add("--channels-last", action="store_true", help="keep images in memory channels last")
    add(
        "--cuda-graph",
        choices=("auto", "on", "off"),
        default="auto",
        help="replay each step of full batches as a CUDA graph: one launch in place of hundreds, "
        "and the memory of a step more. auto: on GPUs, wherever that is possible (auto)",
    )
    return parser


def parse(argv):
    """Turn a command line into a run.

    Parameters
    ----------
    argv : list of str

    Returns
    -------
    igc.run_settings.Run
        Its options have "symbol", "params", "device", "amp", "channels_last" and "cuda_graph",
        too.

    Raises
    ------
    InputError
        For any bad value.
    """
    options = options_model.read(parser(), argv)
    for name, way_out in _ELSEWHERE.items():
        if name in options.given:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag}: is not for train_torch.py; {way_out}")
    goes_on = options.resume is not None or options.load_epoch is not None
    if options.symbol is None:
        if options.params is not None:
            raise InputError("--params: give the --symbol of these parameters, too")
        return options_model.run_of(options)
    if options.params is None and not goes_on:
        raise InputError(
            f"--symbol {options.symbol}: give its --params, too (train_model.py --num-epochs=1 "
            "leaves some), or --resume=auto"
        )
    stem = os.path.basename(options.symbol).removesuffix(".json").removesuffix("-symbol")
    run = options_model.run_of(options, stem)
    run.load_model, run.settings = options.params, {}
    # flags that describe the network are those of --network
    run.notes = [note for note in run.notes if not note.startswith(f"{options.network} takes no")]
    run.notes.append(f"network: {options.symbol}; --network {options.network} chooses the recipe")
    return run
