"""Images of two classes: where they come from, and which ones a run uses."""
