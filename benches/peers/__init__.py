"""PyTorch (and ncnn) networks that the command is timed against."""
