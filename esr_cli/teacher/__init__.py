"""The frozen model that scores responses."""
