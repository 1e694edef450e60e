"""The napari plugin of organoseg: see it, correct it, teach it.

Views only: what they show is decided in `organoseg.review`, `organoseg.inference` and `organoseg.training`.
Importing this package loads neither napari nor Qt nor torch; each command of `napari.yaml` loads what it needs.
"""
