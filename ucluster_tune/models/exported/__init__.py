"""A trained network for those who have not this program: SavedModel, ONNX, or its weights."""
