"""The frames that a model is measured and compared on."""
