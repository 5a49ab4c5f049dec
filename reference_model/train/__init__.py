"""Training: `python -m reference_model.train STAGE --config FILE --out FOLDER`."""
