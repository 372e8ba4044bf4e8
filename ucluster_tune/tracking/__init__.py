"""Who else is told of a study: MLflow, dashboards of Optuna."""
