"""A study in Optuna's storages, for its dashboards."""
