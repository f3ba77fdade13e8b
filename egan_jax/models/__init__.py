"""The two networks of the game, each on a backbone's trainable head."""
