"""Models for machines without torch: ONNX files, written from a model folder and read by onnxruntime."""
