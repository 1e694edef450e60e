"""The short road: ``organoseg.load_model(folder).predict(image)``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from organoseg.core import Image, Instances, UsageError
from organoseg.inference.image import Look, segment_images
from organoseg.inference.tidy import tidy
from organoseg.io import read_image
from organoseg.models.export.onnx_engine import load_onnx
from organoseg.models.export.onnx_file import is_onnx
from organoseg.models.folder import ModelDescription, load_module
from organoseg.models.protocol import CappedResultWarning
from organoseg.models.shelf import find_model
from organoseg.models.starter import NOTE, starter


class StarterWarning(UserWarning):
    """Nobody chose a model, so the starter model is used."""


if TYPE_CHECKING:
    import torch


def choose_device(name: str | None) -> torch.device:
    """The device called ``name``; the best there is for None.

    Raises
    ------
    UsageError
        It is unknown or absent.
    """
    import torch

    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(str(name))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}",
            remedy="Use --device cpu.",
        ) from error
    return device


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model, ready to segment.

    Examples
    --------
    >>> model = organoseg.load_model("runs/first/model")
    >>> organoids = model.predict("well_A1.tif")

    Masks, scores and numbers, in one order:

    >>> organoids.shape
    (96, 96)
    >>> len(organoids.masks) == len(organoids.scores) == len(organoids)
    True
    >>> organoids.ids.tolist() == list(range(1, len(organoids) + 1))
    True
    """

    module: Any
    description: ModelDescription
    device: Any
    bf16: bool = False
    thorough: bool = False
    raw_masks: bool = False

    @property
    def score_threshold(self) -> float:
        """Scores from here on are reported, where nobody says otherwise.

        UsageError where the model does not say it of a thorough look.
        """
        chosen = self.description.score_threshold
        if self.thorough:
            known = self.description.thorough_threshold
            if known is None:
                raise UsageError(
                    "this model does not say from which score a thorough look is to be trusted",
                    where=self.description.identity,
                    remedy="Give --score-threshold, or train it anew.",
                )
            chosen = known
        return chosen

    def look(
        self, image: Image, score_threshold: float | None = None, look: Look | None = None
    ) -> tuple[Instances, tuple[str, ...]]:
        """Organoids of a one-plane image, and what a person should know before trusting them."""
        return self.look_at_all([image], score_threshold, look)[0]

    def look_at_all(
        self,
        images: Sequence[Image],
        score_threshold: float | None = None,
        look: Look | None = None,
    ) -> list[tuple[Instances, tuple[str, ...]]]:
        """The same of several images, ``look.batch`` of one size at once."""
        threshold = self.score_threshold if score_threshold is None else score_threshold
        looks = self.module
        zooms = [self._zoom(image) for image in images]
        with ExitStack() as around, warnings.catch_warnings(record=True) as caught:
            if self.thorough:
                from organoseg.models.ensemble import Thorough

                looks = Thorough(self.module)
            if self.bf16:
                import torch

                around.enter_context(torch.autocast(self.device.type, torch.bfloat16))
            warnings.simplefilter("always")
            found = segment_images(
                looks, images, threshold, self.device, look, [zoom for zoom, _ in zooms]
            )
        capped = [w.message for w in caught if isinstance(w.message, CappedResultWarning)]
        source = f"model:{self.description.identity}"
        answers = []
        for image, instances, (_, notes) in zip(images, found, zooms, strict=True):
            # A warning of a look at several images names none of them, and holds for all.
            own = [w for w in capped if w.image in (None, image.name)]
            said = dict.fromkeys([*notes, *(str(w) for w in own)])
            sources = (source,) * len(instances)
            drawn = instances if self.raw_masks else tidy(instances)
            answers.append((numbered(drawn).replace(sources=sources), tuple(said)))
        return answers

    def _zoom(self, image: Image) -> tuple[float, list[str]]:
        """How much to enlarge an image so that a pixel is as large as in training."""
        wanted = self.description.pixel_size
        if wanted is None:
            return 1.0, []
        if image.pixel_size is None:
            return 1.0, [
                f"{image.name}: the size of its pixels is not known, so it was taken as it is; the model learned from "
                f"pixels of {wanted:.3g} µm. Give --pixel-size."
            ]
        return float(np.mean(image.pixel_size)) / wanted, []

    def predict(
        self, image: Image | Path | str | np.ndarray[Any, Any], score_threshold: float | None = None
    ) -> Instances:
        """Organoids of one grey image: an Image, a path, or an array (H, W) of uint8, uint16 or float32.

        They are numbered from 1 in the order in which one reads: these numbers are in every table and picture.

        Parameters
        ----------
        score_threshold
            Organoids with lower scores are left out; None takes what the model says.

        Raises
        ------
        DataError
            The image cannot be read, has several planes, or pixels that are not finite.
        """
        if isinstance(image, (str, Path)):
            image = read_image(Path(image))
        elif isinstance(image, np.ndarray):
            image = Image(image, name="array")
        found, notes = self.look(image, score_threshold)
        for note in notes:
            warnings.warn(note, CappedResultWarning, stacklevel=2)
        return found

    segment = predict


def numbered(instances: Instances) -> Instances:
    """The same organoids with ids from 1 in the order in which one reads: row by row, left to right."""
    if not len(instances):
        return instances
    boxes = instances.boxes.astype(np.float64)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    # A row is as high as a usual organoid.
    height = max(float(np.median(boxes[:, 2] - boxes[:, 0])), 1.0)
    order = np.lexsort((middle[:, 1], middle[:, 0] // height))
    return instances.select(order).replace(ids=np.arange(1, len(instances) + 1))


def load_model(
    folder: Path | str | None = None,
    device: str | None = None,
    precision: str = "auto",
    thorough: bool = False,
    raw_masks: bool = False,
) -> Model:
    """The model in a folder that ``organoseg train`` wrote, or in an ``.onnx`` file of ``organoseg model export``.

    A model in an ONNX file runs on the processor, without torch. Without a folder it is the starter model
    (`organoseg.models.starter`), which comes with the package. It learned from synthetic pictures alone and has never
    seen a real organoid: a StarterWarning says so.

    Parameters
    ----------
    device
        cpu, cuda, cuda:N, mps; None takes the best there is.
    precision
        fp32, bf16, or auto: bf16 where the device computes in it. On 56 test images the AP of the two differed by .001.
    thorough
        Look at each image four times, turned and enlarged: better, at about seven times the time.
    raw_masks
        Leave masks as the network draws them. Else stray pieces go and holes are filled (`organoseg.inference.tidy`).

    Raises
    ------
    DataError
        There is no model, or it is damaged.
    UsageError
        The device or the precision cannot be used.
    """
    path = starter() if folder is None else find_model(folder)
    if is_onnx(path):
        processor = _processor(device, precision)
        return Model(*load_onnx(path), processor, False, thorough, raw_masks)
    from organoseg.models.precision import use_bf16

    chosen = choose_device(device)
    module, description = load_module(path)
    if folder is None:
        warnings.warn(NOTE.format(identity=description.identity), StarterWarning, stacklevel=2)
    bf16 = use_bf16(precision, chosen)
    return Model(module.to(chosen), description, chosen, bf16, thorough, raw_masks)


def _processor(device: str | None, precision: str) -> str:
    """The one device of an exported model. UsageError where another one, or another format, was asked for."""
    if device not in (None, "auto", "cpu") or precision not in ("auto", "fp32"):
        raise UsageError(
            f"a model in an ONNX file runs on the processor as it was exported, not on {device or 'it'} in {precision}",
            remedy="Leave out --device and --precision, or give the model's folder.",
        )
    return "cpu"


def predict(
    image: Image | Path | str | np.ndarray[Any, Any],
    model: Model | Path | str | None = None,
    score_threshold: float | None = None,
) -> Instances:
    """Organoids of one image; see :meth:`Model.predict`. Without a model the starter model looks; a warning says so."""
    ready = model if isinstance(model, Model) else load_model(model)
    return ready.predict(image, score_threshold)
