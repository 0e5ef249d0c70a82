"""A simulated ``libnvidia-ml.so.1`` for the genuine nvidia-ml-py: C in front, state in a mapped file."""
