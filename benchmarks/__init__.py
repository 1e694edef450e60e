"""Programs that write the figures of README and docs: every figure has its command, seed, split and machine."""
