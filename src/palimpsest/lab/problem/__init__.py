"""Regression problems: distributions of tasks, features, and the random streams behind them."""
