"""What tuning has done to a predictor: losses, inference, recovery, closeness."""
