"""The speed of training, against the authors' way of doing it."""
