"""How a run is planned, stored, resumed and read."""
