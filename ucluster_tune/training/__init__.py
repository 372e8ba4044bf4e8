"""One training process, alone or one of a Horovod group; knows no Ray and no MLflow."""
