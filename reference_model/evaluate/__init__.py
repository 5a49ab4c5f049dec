"""Measures a released version: `python -m reference_model.evaluate --weights v2 --prompts 200 --out FOLDER`."""
