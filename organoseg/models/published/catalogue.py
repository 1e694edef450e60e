"""Weights that others publish: what they are, where they lie, what they may be used for, how they are checked.

A checksum is what the publisher states of the file: all of its sha256, or the digits that its name carries
(torchvision: sha256; Mask2Former's model zoo: md5). Where none is known here, the hub's own statement of the first
download counts; :mod:`organoseg.models.published.store` keeps it and asserts it ever after.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

HUB = "https://huggingface.co"
_TORCHVISION = "https://download.pytorch.org/models/"
_ZOO = "https://dl.fbaipublicfiles.com/maskformer/mask2former/coco/instance/"

Kind = Literal["backbone", "whole"]


@dataclass(frozen=True)
class PublishedWeights:
    """Weights by name.

    Parameters
    ----------
    backbone
        The option ``backbone`` of the engine that they fit.
    kind
        ``backbone``: for ``model.encoder_weights``; ``whole``: for ``model.options.start``.
    source
        An address, or ``owner/repository@revision/file`` on the hub.
    checksum
        ``sha256:`` or ``md5:`` and its first digits, at least six; None: what the hub states.
    gated
        The publisher gives them only to those who have accepted the licence on the page of the weights.
    queries, classes
        Of a whole network.
    """

    backbone: str
    kind: Kind
    source: str
    licence: str
    checksum: str | None = None
    gated: bool = False
    queries: int | None = None
    classes: int | None = None

    @property
    def on_hub(self) -> bool:
        """Whether the source is a repository of the hub."""
        return "://" not in self.source

    @property
    def url(self) -> str:
        """Where the file is downloaded from; ``HF_ENDPOINT`` names a mirror of the hub."""
        if not self.on_hub:
            return self.source
        repository, revision, file = self.hub_parts()
        endpoint = os.environ.get("HF_ENDPOINT") or HUB
        return f"{endpoint.rstrip('/')}/{repository}/resolve/{revision}/{file}"

    @property
    def page(self) -> str:
        """Where a person reads about it and accepts its licence."""
        return f"{HUB}/{self.hub_parts()[0]}" if self.on_hub else self.source

    def hub_parts(self) -> tuple[str, str, str]:
        """Repository, revision and file of a source on the hub."""
        repository, _, rest = self.source.partition("@")
        revision, _, file = rest.partition("/")
        return repository, revision, file

    @property
    def file_name(self) -> str:
        """Its name in the cache: the publisher's own, on the hub preceded by the repository's."""
        if not self.on_hub:
            return PurePosixPath(self.source).name
        repository, _, file = self.hub_parts()
        return f"{repository.replace('/', '--')}--{PurePosixPath(file).name}"


def _torchvision(backbone: str, digits: str, file: str | None = None) -> PublishedWeights:
    source = f"{_TORCHVISION}{file or backbone}-{digits}.pth"
    return PublishedWeights(backbone, "backbone", source, "BSD-3-Clause", f"sha256:{digits}")


def _hub(
    backbone: str, source: str, licence: str, sha256: str | None = None, gated: bool = False
) -> PublishedWeights:
    checksum = f"sha256:{sha256}" if sha256 else None
    return PublishedWeights(backbone, "backbone", source, licence, checksum, gated)


def _coco(
    backbone: str, source: str, checksum: str | None = None, queries: int = 100
) -> PublishedWeights:
    # The licence of Mask2Former's model zoo, from which the hub's copies were converted.
    return PublishedWeights(backbone, "whole", source, "CC-BY-NC-4.0", checksum, False, queries, 80)


def _zoo(backbone: str, folder: str, digits: str) -> PublishedWeights:
    return _coco(backbone, f"{_ZOO}{folder}/model_final_{digits}.pkl", f"md5:{digits}")


#: Weights by the name that a recipe gives.
CATALOGUE: dict[str, PublishedWeights] = {
    # ImageNet, as torchvision publishes them (first recipes: IMAGENET1K_V1).
    "mobilenet_v2_imagenet": _torchvision("mobilenet_v2", "7ebf99e0"),
    "mobilenet_v2_imagenet_v1": _torchvision("mobilenet_v2", "b0353104"),
    "resnet18_imagenet": _torchvision("resnet18", "f37072fd"),
    "resnet50_imagenet": _torchvision("resnet50", "0676ba61"),
    "resnet101_imagenet": _torchvision("resnet101", "63fe2227"),
    "swin_t_imagenet": _torchvision("swin_t", "704ceda3"),
    "swin_s_imagenet": _torchvision("swin_s", "5e29d889"),
    "convnext_tiny_imagenet": _torchvision("convnext_tiny", "983f1562"),
    "convnext_small_imagenet": _torchvision("convnext_small", "0c510722"),
    "convnext_base_imagenet": _torchvision("convnext_base", "6075fbad"),
    # ImageNet-22k, windows of 12 at 384 px, as in Mask2Former.
    "swin_b_imagenet22k": _hub(
        "swin_b",
        "microsoft/swin-base-patch4-window12-384-in22k"
        "@f043025dc41b58a20b8a2f7a97959395c5db50d1/pytorch_model.bin",
        "Apache-2.0",
    ),
    "swin_l_imagenet22k": _hub(
        "swin_l",
        "microsoft/swin-large-patch4-window12-384-in22k"
        "@52b8e3d2311f28f0079cd183ca0906fe505490f0/pytorch_model.bin",
        "Apache-2.0",
    ),
    # DINOv2: 142 million photographs, no labels.
    "dinov2_s": _hub(
        "dinov2_s",
        "facebook/dinov2-small@ed25f3a31f01632728cabb09d1542f84ab7b0056/model.safetensors",
        "Apache-2.0",
        "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
    ),
    "dinov2_b": _hub(
        "dinov2_b",
        "facebook/dinov2-base@f9e44c814b77203eaa57a6bdbbd535f21ede1415/model.safetensors",
        "Apache-2.0",
    ),
    "dinov2_l": _hub(
        "dinov2_l",
        "facebook/dinov2-large@47b73eefe95e8d44ec3623f8890bd894b6ea2d6c/model.safetensors",
        "Apache-2.0",
        "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
    ),
    # DINOv3: only after its licence has been accepted on its page.
    "dinov3_s": _hub(
        "dinov3_s",
        "facebook/dinov3-vits16-pretrain-lvd1689m@main/model.safetensors",
        "DINOv3 License",
        gated=True,
    ),
    "dinov3_b": _hub(
        "dinov3_b",
        "facebook/dinov3-vitb16-pretrain-lvd1689m@main/model.safetensors",
        "DINOv3 License",
        gated=True,
    ),
    "dinov3_l": _hub(
        "dinov3_l",
        "facebook/dinov3-vitl16-pretrain-lvd1689m@main/model.safetensors",
        "DINOv3 License",
        gated=True,
    ),
    "dinov3_convnext_tiny": _hub(
        "dinov3_convnext_tiny",
        "facebook/dinov3-convnext-tiny-pretrain-lvd1689m@main/model.safetensors",
        "DINOv3 License",
        gated=True,
    ),
    "dinov3_convnext_small": _hub(
        "dinov3_convnext_small",
        "facebook/dinov3-convnext-small-pretrain-lvd1689m@main/model.safetensors",
        "DINOv3 License",
        gated=True,
    ),
    # Whole Mask2Formers, COCO instances.
    "mask2former_resnet50_coco": _zoo("resnet50", "maskformer2_R50_bs16_50ep", "3c8ec9"),
    "mask2former_resnet101_coco": _zoo("resnet101", "maskformer2_R101_bs16_50ep", "eba159"),
    "mask2former_swin_t_coco": _coco(
        "swin_t", "facebook/mask2former-swin-tiny-coco-instance@main/model.safetensors"
    ),
    "mask2former_swin_s_coco": _coco(
        "swin_s", "facebook/mask2former-swin-small-coco-instance@main/model.safetensors"
    ),
    "mask2former_swin_b_coco": _coco(
        "swin_b",
        "facebook/mask2former-swin-base-IN21k-coco-instance"
        "@bacabd8bacf989a133615638116e2f78df16a71e/model.safetensors",
    ),
    "mask2former_swin_l_coco": _coco(
        "swin_l",
        "facebook/mask2former-swin-large-coco-instance@main/model.safetensors",
        queries=200,
    ),
}


def names_for(backbone: str, kind: Kind = "backbone") -> tuple[str, ...]:
    """Names of published weights that fit a backbone."""
    return tuple(k for k, w in CATALOGUE.items() if w.backbone == backbone and w.kind == kind)
