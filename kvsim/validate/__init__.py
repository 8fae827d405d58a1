"""Predicted against measured: curves are fitted to one half of the measurements, and held to the other."""
