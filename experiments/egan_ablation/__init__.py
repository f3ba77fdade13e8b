"""What each part of the game is worth for few minority images."""
