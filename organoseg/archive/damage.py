"""What a check found, and what it cannot find."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from organoseg.archive.manifest import Lost
from organoseg.archive.records import ImageRecord

Kind = Literal["missing", "damaged", "absent", "levels", "pixels", "metadata"]
_BLIND = {
    "none": "no codec: a flipped bit is just another grey value",
    "blosc": "blosc keeps no checksum: most flipped bits go unseen",
    "zstd": "zstd was written without its checksum: most flipped bits of noisy pictures go unseen",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong; ``chunk`` "" for a whole array or image."""

    kind: Kind
    url: str
    path: str
    chunk: str
    reason: str


@dataclass
class Report:
    """What one or several checks found. ``blind``: what the codecs cannot reveal, with the number of images."""

    images: int = 0
    planes: int = 0
    hashed: int = 0
    findings: list[Finding] = field(default_factory=list)
    blind: dict[str, int] = field(default_factory=dict)
    stores: list[str] = field(default_factory=list)

    @property
    def damaged(self) -> bool:
        """Whether anything is certainly wrong (`absent` alone is not)."""
        return any(finding.kind != "absent" for finding in self.findings)

    def counts(self) -> dict[str, int]:
        """Findings by kind."""
        return dict(Counter(finding.kind for finding in self.findings))

    def add(self, other: Report) -> None:
        """Take in what another check found."""
        for name in ("images", "planes", "hashed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings += other.findings
        self.stores += other.stores
        for text, number in other.blind.items():
            self.blind[text] = self.blind.get(text, 0) + number

    def blind_to(self, image: ImageRecord) -> None:
        """Note what the codec of an image cannot reveal."""
        if image.checksummed:
            return
        first = image.codec.partition(" ")[0].removeprefix("numcodecs.")
        text = _BLIND.get(first, f"{image.codec} keeps no checksum: flipped bits may go unseen")
        self.blind[text] = self.blind.get(text, 0) + 1

    def lost(self) -> list[Lost]:
        """What training must leave out."""
        return [
            Lost(f.url, f.path, f.chunk or "*", f.reason)
            for f in self.findings
            if f.kind in ("missing", "damaged", "absent", "pixels")
        ]
