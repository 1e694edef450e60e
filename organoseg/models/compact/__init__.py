"""The compact engine: trains in minutes on a processor, keeps overlaps and budding shapes."""
