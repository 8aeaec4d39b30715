"""The frames for calibrating and verifying a model."""
