"""YAML to typed, frozen configuration; knows nothing of TensorFlow, Ray, Optuna or Arrow."""
