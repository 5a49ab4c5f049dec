"""The captioned procedural video world with exact ground truth."""
