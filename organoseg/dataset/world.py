"""A world of synthetic pictures: for each, what it is like is drawn from ranges, and all from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from organoseg.core import UsageError
from organoseg.dataset.labelled import LabelledImage
from organoseg.dataset.scene import Scene
from organoseg.dataset.synthetic import SyntheticSpec, make_image

Range = tuple[float, float]


@dataclass(frozen=True)
class World:
    """Ranges (lowest, highest) from which each picture's `SyntheticSpec` and `Scene` are drawn.

    Lengths are px; what the numbers mean stands there. ``filling`` is the share of the field that organoids would
    cover if none lay over another; ``kinds`` weights of spheres, cysts and budding bodies, of which each picture
    draws its own shares; ``rim``, ``bubble``, ``strand``, ``seam``, ``wide`` (16 bit) and ``compressed`` chances that a
    picture has such a thing.
    """

    size: int = 384
    typical: Range = (9.0, 36.0)
    spread: Range = (0.3, 0.7)
    filling: Range = (0.05, 0.75)
    most: int = 70
    overlap: Range = (0.0, 0.4)
    clusters: Range = (0.0, 0.4)
    side: Range = (0.0, 1.0)
    ragged: Range = (0.0, 0.4)
    kinds: tuple[float, float, float] = (1.0, 3.5, 0.25)
    defocus: Range = (0.2, 1.6)
    focus: Range = (0.0, 1.0)
    wall: Range = (0.4, 1.3)
    thickness: Range = (0.7, 1.5)
    dense: Range = (0.0, 0.5)
    grain: Range = (0.3, 1.5)
    oblique: Range = (0.0, 0.7)
    faint: int = 10
    debris: tuple[int, int] = (3, 60)
    speck: Range = (2.0, 4.0)
    clumps: int = 5
    blobs: int = 10
    level: Range = (0.2, 0.9)
    gradient: Range = (0.0, 0.6)
    vignette: Range = (0.0, 0.8)
    rim: float = 0.3
    gel: Range = (0.03, 0.6)
    bubble: float = 0.04
    strand: float = 0.12
    seam: float = 0.05
    noise: Range = (0.003, 0.018)
    soft: Range = (0.3, 1.0)
    wide: float = 0.15
    compressed: float = 0.6

    def __post_init__(self) -> None:
        pairs = [(k, v) for k, v in vars(self).items() if isinstance(v, tuple) and len(v) == 2]
        wrong = [name for name, (low, high) in pairs if not 0 <= low <= high]
        chances = ("rim", "bubble", "strand", "seam", "wide", "compressed")
        wrong += [name for name in chances if not 0 <= getattr(self, name) <= 1]
        if wrong:
            raise UsageError(
                f"Impossible synthetic world: {', '.join(wrong)}",
                remedy="Give (lowest, highest), 0 or more, and chances from 0 to 1.",
            )

    def spec(self, seed: int, index: int) -> SyntheticSpec:
        """What the picture of this number is like."""
        rng = np.random.default_rng((seed, index, 0x5CE4E))

        def draw(pair: Range) -> float:
            return float(rng.uniform(*pair))

        typical = float(np.exp(rng.uniform(*np.log(self.typical))))
        spread = draw(self.spread)
        # The mean area of a log-normal radius is larger than that of its median.
        area = np.pi * typical**2 * np.exp(2 * spread**2)
        wanted = int(np.clip(self.size**2 * draw(self.filling) ** 1.3 / area, 1, self.most))
        shares = rng.dirichlet(np.maximum(self.kinds, 1e-3))
        scene = Scene(
            typical=typical,
            spread=spread,
            clusters=draw(self.clusters),
            side=draw(self.side),
            ragged=draw(self.ragged),
            focus=draw(self.focus),
            wall=float(np.exp(rng.uniform(*np.log(self.wall)))),
            thickness=draw(self.thickness),
            dense=draw(self.dense),
            grain=draw(self.grain),
            oblique=draw(self.oblique),
            level=draw(self.level),
            gel=draw(self.gel),
            bubbles=3 * int(rng.random() < self.bubble),
            strands=2 * int(rng.random() < self.strand),
            seams=2 * int(rng.random() < self.seam),
            clumps=self.clumps,
            blobs=int(rng.integers(self.blobs + 1)),
            speck=draw(self.speck),
            soft=draw(self.soft),
            bits=16 if rng.random() < self.wide else 8,
            jpeg=int(rng.integers(60, 96)) if rng.random() < self.compressed else 0,
        )
        return SyntheticSpec(
            size=self.size,
            count=(max(wanted // 2, 1), max(wanted, 1)),
            radius=(4.5, 110.0),
            overlap=draw(self.overlap),
            kinds=(float(shares[0]), float(shares[1]), float(shares[2])),
            defocus=draw(self.defocus),
            faint=int(rng.integers(self.faint + 1)),
            debris=int(rng.integers(self.debris[0], self.debris[1] + 1)),
            fibres=int(rng.random() < 0.1),
            gradient=draw(self.gradient),
            vignette=draw(self.vignette),
            rim=self.rim,
            noise=draw(self.noise),
            scene=scene,
        )

    def picture(self, seed: int, index: int, name: str | None = None) -> LabelledImage:
        """One picture and its organoids; the same world, seed and number give the same bits."""
        return make_image((seed, index), self.spec(seed, index), name)

    def pictures(self, seed: int, count: int) -> Iterator[LabelledImage]:
        """The first ``count`` pictures, one at a time."""
        return (self.picture(seed, index) for index in range(count))
