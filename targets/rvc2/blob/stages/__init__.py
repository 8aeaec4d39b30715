"""What the stages of a blob compute: a file a family, a function a stage."""
