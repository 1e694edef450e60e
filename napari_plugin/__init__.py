"""The napari plugin of organoseg.

Its manifest (`napari.yaml`) declares the plugin and contributes nothing yet: no reader, writer or
widget is promised before it exists. Importing this package loads neither napari nor Qt.
"""
