"""One module for each part of the app; each has a `router`."""
