"""Programs as ONNX models: standard operators, integer arithmetic, bit-exact."""
