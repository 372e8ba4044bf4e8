"""One trial: a Ray trainable that drives a group of Horovod workers."""
