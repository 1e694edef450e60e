"""Synthetic brightfield organoids with exact, overlapping masks: for the demo, tests and trials.

Everything follows from the seed. Organoids are transparent and lie at different depths: a mask is
where the organoid is, whatever lies over it. Debris, and organoids too far out of focus for a
person to outline, are in the image but not in the masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Image, Instances, Mask, UsageError
from organoseg.dataset import appearance, optics, surroundings
from organoseg.dataset.labelled import LabelledDataset, LabelledImage
from organoseg.dataset.scene import Scene, place
from organoseg.dataset.shapes import Kind, Shape, draw_shape

_TRIES = 40


@dataclass(frozen=True)
class SyntheticSpec:
    """What the images are like. Lengths are pixels; pairs are (lowest, highest).

    ``overlap`` is the chance that an organoid is put onto another; ``kinds`` the shares of
    spheres, cysts and budding bodies; ``defocus`` the spread of the blur; ``faint`` the most
    unlabelled out-of-focus organoids, ``debris`` and ``fibres`` the most specks and fibres;
    ``gradient``, ``vignette`` and ``noise`` relative to white; ``rim`` the chance of a gel edge.
    ``scene``: more of what microscopes show (`organoseg.dataset.scene`); None makes the plain pictures of the demo.
    """

    size: int = 256
    count: tuple[int, int] = (4, 14)
    radius: tuple[float, float] = (6.0, 36.0)
    overlap: float = 0.18
    kinds: tuple[float, float, float] = (0.35, 0.45, 0.2)
    defocus: float = 1.1
    faint: int = 4
    debris: int = 22
    fibres: int = 1
    gradient: float = 0.3
    vignette: float = 0.3
    rim: float = 0.2
    noise: float = 0.014
    min_area: int = 40
    scene: Scene | None = None

    def __post_init__(self) -> None:
        wrong = [
            name
            for name, fine in {
                "size (at least 16)": self.size >= 16,
                "count (0 <= lowest <= highest)": 0 <= self.count[0] <= self.count[1],
                "radius (2 <= lowest <= highest)": 2 <= self.radius[0] <= self.radius[1],
                "overlap (0 to 1)": 0 <= self.overlap <= 1,
                "kinds (three shares, not all 0)": min(self.kinds) >= 0 and sum(self.kinds) > 0,
                "defocus (0 or more)": self.defocus >= 0,
                "faint, debris, fibres (0 or more)": min(self.faint, self.debris, self.fibres) >= 0,
                "rim (0 to 1)": 0 <= self.rim <= 1,
                "noise (0 or more)": self.noise >= 0,
                "min_area (1 or more)": self.min_area >= 1,
            }.items()
            if not fine
        ]
        if wrong:
            raise UsageError(
                f"Impossible synthetic images: {', '.join(wrong)}",
                remedy="Give values inside these ranges.",
            )


def make_image(
    seed: int | Sequence[int], spec: SyntheticSpec | None = None, name: str | None = None
) -> LabelledImage:
    """One uint8 image (size, size) and its organoids; the same seed and spec give the same bits.

    With a scene of 16 bits the image is uint16.

    Its group is its own name: no two synthetic images share a well.
    """
    spec = spec or SyntheticSpec()
    parts = [seed] if isinstance(seed, int) else list(seed)
    rng = np.random.default_rng(np.random.SeedSequence(parts))
    name = name or f"synthetic_{'_'.join(f'{part:05d}' for part in parts)}.png"
    if spec.scene is not None:
        return _make_scene(rng, spec, spec.scene, name)
    light = optics.background(rng, spec.size, spec.gradient, spec.vignette, spec.rim)
    light *= optics.debris(
        rng, spec.size, int(rng.integers(spec.debris + 1)), int(rng.integers(spec.fibres + 1))
    )
    slant = float(rng.uniform(0, 2 * np.pi))
    shapes = _place(rng, spec)
    for shape in _faint_shapes(rng, spec):
        blur = float(rng.uniform(0.2, 0.35)) * shape.radius + 2.5
        _shine_through(rng, light, shape, blur, slant, strength=float(rng.uniform(0.2, 0.5)))
    masks, kept_kinds = [], []
    for shape in shapes:
        mask = _mask(shape, spec)
        if mask is None:
            continue
        _shine_through(rng, light, shape, _blur(rng, spec, shape), slant, strength=1.0)
        masks.append(mask)
        kept_kinds.append(shape.kind)
    image = Image(optics.expose(rng, light, spec.noise), name=name, group=name)
    return LabelledImage(image, _instances(masks, kept_kinds, spec.size))


def _make_scene(
    rng: np.random.Generator, spec: SyntheticSpec, scene: Scene, name: str
) -> LabelledImage:
    light = surroundings.empty_field(rng, spec.size, spec.gradient, spec.vignette, spec.rim, scene)
    slant = float(rng.uniform(0, 2 * np.pi))
    masks, kinds = [], []
    for placed in place(rng, spec, scene):
        shape = placed.shape
        body = appearance.draw_body(rng, shape, scene, placed.blur, placed.labelled)
        patch = _patch(shape, spec.size, body.margin)
        if patch is None:
            continue
        outlined = placed.labelled and body.seen >= scene.faintest
        mask = _mask(shape, spec) if outlined and _share_seen(shape, spec) else None
        light[patch] *= appearance.transmission(rng, body, slant, *_grid(patch))
        if mask is not None:
            masks.append(mask)
            kinds.append(shape.kind)
    light *= surroundings.dirt(rng, spec.size, spec.debris, spec.fibres, slant, scene)
    if scene.bubbles:
        light *= surroundings.bubbles(rng, spec.size, scene)
    image = Image(surroundings.expose(rng, light, spec.noise, scene), name=name, group=name)
    return LabelledImage(image, _instances(masks, kinds, spec.size))


def _share_seen(shape: Shape, spec: SyntheticSpec) -> bool:
    """Whether enough of an organoid lies in the field to be outlined."""
    least = spec.scene.least_seen if spec.scene is not None else 0.0
    reach = shape.reach + 1
    if least == 0 or (
        reach < min(shape.y, shape.x) and max(shape.y, shape.x) < spec.size - 1 - reach
    ):
        return True
    # A coarse look is enough for a share.
    steps = np.linspace(-reach, reach, 33)
    y, x = np.meshgrid(shape.y + steps, shape.x + steps, indexing="ij")
    body = shape.depth(y, x) > 0
    inside = (y >= 0) & (x >= 0) & (y <= spec.size - 1) & (x <= spec.size - 1)
    return float((body & inside).sum()) >= least * float(body.sum())


def make_dataset(seed: int, n: int, spec: SyntheticSpec | None = None) -> LabelledDataset:
    """``n`` images; different seeds give different images. See `iter_images` for large numbers."""
    return LabelledDataset(tuple(iter_images(seed, n, spec)))


def iter_images(seed: int, n: int, spec: SyntheticSpec | None = None) -> Iterator[LabelledImage]:
    """The images of `make_dataset` one at a time."""
    for index in range(n):
        yield make_image((seed, index), spec)


def _instances(masks: list[Mask], kinds: list[Kind], size: int) -> Instances:
    sources = [f"synthetic {kind}" for kind in kinds]
    return Instances.from_masks((size, size), masks, sources=sources)


def _place(rng: np.random.Generator, spec: SyntheticSpec) -> list[Shape]:
    """Outlines all over the field, some on others, the rest apart where there is room."""
    wanted = int(rng.integers(spec.count[0], spec.count[1] + 1))
    placed: list[Shape] = []
    for _ in range(wanted):
        radius = _radius(rng, spec)
        parent = None
        if placed and rng.random() < spec.overlap:
            parent = placed[int(rng.integers(len(placed)))]
        for _ in range(_TRIES):
            shape = _candidate(rng, spec, radius, parent)
            if parent is not None and _over(rng, shape, parent):
                placed.append(shape)
                break
            if parent is None and all(_apart(shape, other) for other in placed):
                placed.append(shape)
                break
    return placed


def _candidate(
    rng: np.random.Generator, spec: SyntheticSpec, radius: float, parent: Shape | None
) -> Shape:
    kind = _kind(rng, spec, radius)
    if parent is None:
        y, x = rng.uniform(-0.3 * radius, spec.size - 1 + 0.3 * radius, 2)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        far = (radius + parent.radius) * rng.uniform(0.35, 0.95)
        y, x = parent.y + far * np.sin(angle), parent.x + far * np.cos(angle)
    return draw_shape(rng, kind, float(y), float(x), radius)


def _over(rng: np.random.Generator, shape: Shape, parent: Shape) -> bool:
    # Nearly the same outline twice is a thing no person would label as two.
    far = float(np.hypot(shape.y - parent.y, shape.x - parent.x))
    return far > 0.45 * max(shape.radius, parent.radius)


def _apart(shape: Shape, other: Shape) -> bool:
    far = float(np.hypot(shape.y - other.y, shape.x - other.x))
    return far > shape.reach + other.reach + 2


def _faint_shapes(rng: np.random.Generator, spec: SyntheticSpec) -> list[Shape]:
    count = int(rng.integers(spec.faint + 1))
    return [_candidate(rng, spec, _radius(rng, spec), None) for _ in range(count)]


def _blur(rng: np.random.Generator, spec: SyntheticSpec, shape: Shape) -> float:
    """Most lie near the focal plane, some well off it, none so far that its edge is lost."""
    far = 3.0 if rng.random() < 0.25 else 1.0
    return min(abs(float(rng.normal(0, far * spec.defocus))), 0.16 * shape.radius)


def _radius(rng: np.random.Generator, spec: SyntheticSpec) -> float:
    low, high = np.log(spec.radius)
    return float(np.exp(rng.uniform(low, high)))


def _kind(rng: np.random.Generator, spec: SyntheticSpec, radius: float) -> Kind:
    kinds: tuple[Kind, ...] = ("sphere", "cyst", "bud")
    # Buds of a small body would be specks.
    shares = np.array(spec.kinds) * (1, 1, radius >= 9 or not any(spec.kinds[:2]))
    return kinds[int(rng.choice(3, p=shares / shares.sum()))]


def _patch(shape: Shape, size: int, margin: float) -> tuple[slice, slice] | None:
    reach = shape.reach + margin
    top, left = max(0, int(shape.y - reach)), max(0, int(shape.x - reach))
    bottom, right = min(size, int(shape.y + reach) + 2), min(size, int(shape.x + reach) + 2)
    if top >= bottom or left >= right:
        return None
    return slice(top, bottom), slice(left, right)


def _grid(patch: tuple[slice, slice]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[patch].astype(np.float64)
    return y, x


def _mask(shape: Shape, spec: SyntheticSpec) -> Mask | None:
    patch = _patch(shape, spec.size, 1)
    if patch is None:
        return None
    mask = Mask.from_bits(shape.depth(*_grid(patch)) > 0, patch[0].start, patch[1].start)
    return mask if mask is not None and mask.area >= spec.min_area else None


def _shine_through(
    rng: np.random.Generator,
    light: NDArray[np.float64],
    shape: Shape,
    blur: float,
    slant: float,
    strength: float,
) -> None:
    """Dim ``light`` in place by the organoid, whose density counts ``strength`` times."""
    patch = _patch(shape, light.shape[0], 4 * blur + 8)
    if patch is None:
        return
    look = optics.draw_look(rng, shape, blur, slant)
    light[patch] *= optics.transmission(rng, shape, look, *_grid(patch)) ** strength
