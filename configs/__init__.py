"""The recipes that ship with organoseg, as package data; read them with `importlib.resources`."""
