"""`analyze`: where a converted network loses its accuracy, layer by layer."""
