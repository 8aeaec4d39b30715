"""Results that were made before: what they are called (`key`), and where they are kept (`store`)."""
