#!/usr/bin/env python
"""Write a network for other engines: ONNX, or symbol and parameters (``--help``)."""

from igc import cli


def main(argv):
    """Export, compare, and say how far the result is from MXNet."""
    from igc import options_export

    export = options_export.parse(argv)
    for note in export.notes:
        print(note)
    out = export.options.out or options_export.default_out(export)
    if export.options.to == "mxnet":
        from igc.symbol.files import save_checkpoint

        for path in save_checkpoint(out, 0, export.symbol, export.arg_params, export.aux_params):
            print(f"written: {path}")
        return
    from igc.onnx import exporting, model

    network = export.symbol, export.arg_params, export.aux_params, export.image_shape
    flags = export.options.logits, export.options.simplify
    made, folded = exporting.build(*network, *flags, export.facts)
    if folded:
        print("permutations: {} in the network, {} left after folding".format(*folded))
    for difference in exporting.check(*network, made, *flags):
        print(difference)
    model.save(made, out)
    print(f"written: {out} (opset {model.OPSET}, {len(made.graph.node)} nodes)")


if __name__ == "__main__":
    cli.run(main)
