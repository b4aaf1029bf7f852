"""Networks as ONNX files: written, compared with MXNet, run, and quantized.

`igc.onnx.model.build` writes a graph and its parameters as a model; `igc.onnx.operators` knows what
each operator becomes. `igc.onnx.engines.open_model` runs a file in ONNX Runtime or OpenVINO without
MXNet, `igc.onnx.parity` holds it against MXNet, and `igc.onnx.quantization` makes it int8.
"""
