"""The engines that run a network: torch on any device, OpenVINO on a CPU, and ONNX files for other runtimes."""
