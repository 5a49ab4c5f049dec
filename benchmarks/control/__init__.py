"""Does a model obey its controls? Studies defined in YAML, run on any model that evalkit can drive."""
