"""Numbers of the compact engine that its network, its targets and its answers share."""

LEVELS = (8, 16, 32)
#: Mask features are this much finer than the level that reads them.
FINER = 4
#: Cells on a side of the window in which a location draws its mask.
WINDOW = 64
MASK_CHANNELS = 8
HIDDEN = 8
#: Inputs and outputs of the three 1x1 layers of a location's own network (features + 2 coordinates -> 8 -> 8 -> 1).
LAYERS = ((MASK_CHANNELS + 2, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1))
#: Weights and biases of these.
DYNAMIC_PARAMETERS = sum((inputs + 1) * outputs for inputs, outputs in LAYERS)
