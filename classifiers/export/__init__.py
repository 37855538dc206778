"""Heads as ONNX files for other runtimes: vectors or pixels in, calibrated probabilities out. Needs onnx."""
