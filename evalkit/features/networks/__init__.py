"""Networks behind the features: architectures and loading code, without weights."""
