"""What the scores are worth: metrics, Nash equilibrium, protocols."""
