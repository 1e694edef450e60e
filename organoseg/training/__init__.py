"""Recipes, feeds and the loop that survives a kill."""
