"""Public sets of labelled organoids: what they are, where they lie, on what terms, how they are imported.

Nothing here is a guess: an address, a checksum, a size or a licence that nobody who wrote this has seen is None, and
said to be unknown. A checksum that only others have recorded says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from organoseg.core import UsageError
from organoseg.dataset.sources.rules import Rules


@dataclass(frozen=True)
class PublicSet:
    """A public set by name.

    Parameters
    ----------
    holds
        What is on the images, and how it is labelled.
    page
        Where a person reads about it, and finds its terms.
    licence
        As its page states it; None: not known here.
    url, file, size
        The one archive that is downloaded, its name, its bytes; url None: no address can be had without a login or a
        form, so that a person has to fetch it.
    checksum, checksum_by
        ``sha256:`` and digits, and who says so; None: recorded when the file is first used.
    form, below, rules
        How it is imported: the format, the folder of the archive, and the rules.
    tried
        Whether the import has been run on the real files. Otherwise it follows what others' readers of the set do.
    """

    name: str
    title: str
    holds: str
    page: str
    licence: str | None = None
    url: str | None = None
    file: str | None = None
    size: int | None = None
    checksum: str | None = None
    checksum_by: str = ""
    form: str = "auto"
    below: str = ""
    rules: Rules = field(default_factory=Rules)
    tried: bool = False
    remarks: str = ""


CATALOGUE: dict[str, PublicSet] = {
    public.name: public
    for public in (
        PublicSet(
            name="orgasegment",
            title="OrgaSegment",
            holds="intestinal organoids of patients, brightfield; label images, so no overlap",
            page="https://zenodo.org/records/10278229",
            url="https://zenodo.org/records/10278229/files/OrganoidBasic_v20211206.zip?download=1",
            file="OrganoidBasic_v20211206.zip",
            checksum="sha256:d067124d734108e46e18f65daaf17c89cb0a40bdacc6f6031815a6839e472798",
            checksum_by="as the readers of torch-em have recorded it",
            form="label-images",
            rules=Rules(image_pattern="*_img.*", label_pattern="*_masks_organoid.*"),
            remarks="folders train, val and eval; eval is taken for test",
        ),
        PublicSet(
            name="m-orgaquant",
            title="M-OrgaQuant",
            holds="human intestinal organoids, brightfield; polygons that overlap",
            page="https://github.com/HGCSDN/Organoid_Overlap_Instance_Segmentation",
            licence="none stated",
            form="coco",
            tried=True,
            remarks="the images are OrgaQuant's; masks of train are not public",
        ),
        PublicSet(
            name="organoid",
            title="OrganoID",
            holds="pancreatic organoids, brightfield; foreground masks, whose pieces become organoids",
            page="https://doi.org/10.1371/journal.pcbi.1010584",
            url="https://osf.io/download/69nr8/",
            file="OrganoID.zip",
            form="label-images",
            below="OriginalData",
            rules=Rules(
                image_pattern="*images/*.*", label_pattern="*segmentations/*.*", pieces=True
            ),
            remarks="the address has no version, and others found that the file behind it changes",
        ),
        PublicSet(
            name="organoidnet",
            title="OrganoIDNetData",
            holds="190 images, 33,906 pancreatic tumour organoids with immune cells, phase contrast; label images",
            page="https://zenodo.org/records/10643410",
            url="https://zenodo.org/records/10643410/files/OrganoIDNetData.zip?download=1",
            file="OrganoIDNetData.zip",
            checksum="sha256:3cd9239bf74bda096ecb5b7bdb95f800c7fa30b9937f9aba6ddf98d754cbfa3d",
            checksum_by="as the readers of torch-em have recorded it",
            form="label-images",
            below="Dataset",
            rules=Rules(image_pattern="*Images/*.*", label_pattern="*Masks/*.*"),
            remarks="folders Training, Validation and Test",
        ),
        PublicSet(
            name="multiorg",
            title="MultiOrg",
            holds="over 400 images of wells, more than 60,000 lung organoids, brightfield; boxes only",
            page="https://arxiv.org/abs/2410.14612",
            remarks="boxes are no masks: import with --boxes ellipse, as a guess, or use them to count only. The "
            "layout of its own files has not been seen here; COCO and napari-organoid-counter's JSON are read",
        ),
    )
}


def public_set(name: str) -> PublicSet:
    """The set of this name; UsageError, with the names that there are, for another."""
    found = CATALOGUE.get(name.casefold())
    if found is None:
        raise UsageError(
            f"There is no public set called {name!r}",
            remedy=f"Known are {', '.join(CATALOGUE)}; `organoseg data list` says more.",
        )
    return found
