"""Engines behind one protocol, and models as folders on disk."""
