"""What the scores are worth: metrics, intervals, thresholds, calibration, protocols."""
