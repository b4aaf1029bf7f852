"""The benchmark: igc's networks on MXNet, on the native operators and on other engines.

`benchmark.py` at the top is the command. The modules that run inside other engines' environments
(`worker`, `torch_engine`, `onnx_engines`, ...) import nothing of `igc` and nothing of MXNet.
"""
