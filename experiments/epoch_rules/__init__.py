"""Which epoch of a game to use: rules that read training images only."""
