"""Images come in from every format as they are, and bad files are refused by name."""

import shutil
import warnings

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from organoseg.core import DataError, Image, UsageError
from organoseg.io import find_images, group_of, read_image, register, suffixes

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (20, 30), np.uint8)
GREY16 = RNG.integers(0, 65536, (20, 30), np.uint16)
COLOUR = RNG.integers(0, 256, (20, 30, 3), np.uint8)


def luminance(colour):
    return ((colour.astype(int) @ [299, 587, 114] + 500) // 1000).astype(colour.dtype)


@pytest.mark.parametrize(
    "pixels",
    [
        GREY8,
        GREY16,
        GREY16.astype(np.float32) / 7,
        GREY16.astype(">u2"),
        np.full((20, 30), 9, np.uint8),
    ],
)
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_tiff_as_it_is(tmp_path, pixels, compression):
    path = tmp_path / "Öl µm 器官.tif"
    tifffile.imwrite(path, pixels, compression=compression, byteorder=None)
    image = read_image(path)
    assert image.name == path.name
    assert image.group == tmp_path.name
    assert np.array_equal(image.plane(), pixels)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (GREY8 > 99, (GREY8 > 99).astype(np.uint8) * 255),
        (GREY8.astype(np.int32) + 300, GREY8.astype(np.uint16) + 300),
        (GREY8.astype(np.float64) / 3, (GREY8.astype(np.float64) / 3).astype(np.float32)),
    ],
)
def test_tiff_of_other_types_where_they_fit(tmp_path, stored, read):
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack")
    image = read_image(tmp_path / "a.tif")
    assert image.pixels.dtype == read.dtype
    assert np.array_equal(image.pixels, read)


def test_white_is_zero_is_inverted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY8, photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, 255 - GREY8)


@pytest.mark.parametrize(
    "bad",
    [
        np.full((4, 4), np.nan, np.float32),
        np.full((4, 4), -1, np.int16),
        GREY16.astype(np.uint32) + 9**6,
    ],
)
def test_tiff_values_that_are_no_brightness_are_refused(tmp_path, bad):
    tifffile.imwrite(tmp_path / "bad.tif", bad, photometric="minisblack")
    with pytest.raises(DataError, match=r"bad\.tif"):
        read_image(tmp_path / "bad.tif")


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiff_becomes_grey(tmp_path, planar):
    equal = np.stack([GREY8] * 3, -1)
    for name, pixels, expected in (("eq", equal, GREY8), ("rgb", COLOUR, luminance(COLOUR))):
        stored = np.moveaxis(pixels, -1, 0) if planar == "separate" else pixels
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planar)
        image = read_image(path)
        assert image.axes == "YX"
        assert np.array_equal(image.pixels, expected)


def test_palette_tiff_is_looked_up(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint16)[::-1] * 257, (3, 1))
    tifffile.imwrite(tmp_path / "a.tif", GREY8, photometric="palette", colormap=ramp)
    assert np.array_equal(read_image(tmp_path / "a.tif").pixels, 255 - GREY8)


def test_axes_and_pixel_size_of_imagej_and_ome(tmp_path):
    stack = RNG.integers(0, 9, (2, 3, 8, 9), np.uint16)
    ij, ome = tmp_path / "ij.tif", tmp_path / "o.ome.tif"
    meta = {"axes": "ZCYX", "unit": "um"}
    tifffile.imwrite(ij, stack, imagej=True, resolution=(2, 4), metadata=meta)
    meta = {"axes": "ZCYX", "PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
    tifffile.imwrite(ome, stack, metadata=meta)
    for path in (ij, ome):
        image = read_image(path)
        assert image.axes == "CZYX"
        assert np.array_equal(image.pixels, stack.transpose(1, 0, 2, 3))
        assert image.pixel_size == pytest.approx((0.25, 0.5))


def test_print_resolution_is_no_pixel_size_and_bare_pages_are_focus_planes(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.stack([GREY8] * 5), resolution=(300, 300), metadata=None
    )
    image = read_image(tmp_path / "a.tif")
    assert image.pixel_size is None
    assert (image.axes, image.pixels.shape) == ("ZYX", (5, 20, 30))


def test_several_images_in_one_file_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as out:
        out.write(GREY8)
        out.write(GREY16[:7])
    with pytest.raises(DataError, match="holds 2 images"):
        read_image(tmp_path / "two.tif")


def test_ome_text_that_contradicts_its_page_does_not_matter(tmp_path):
    # As EVOS writes: RGB pixels, while the OME text says one sample a pixel.
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" SizeX="30" SizeY="20" '
        'SizeZ="1" SizeC="1" SizeT="1" PhysicalSizeX="4.5" PhysicalSizeY="4.5" Type="uint24">'
        "<TiffData/></Pixels></Image></OME>"
    )
    path = tmp_path / "evos.TIF"
    tifffile.imwrite(
        path, np.stack([GREY8] * 3, -1), photometric="rgb", description=xml, metadata=None
    )
    image = read_image(path)
    assert np.array_equal(image.plane(), GREY8)
    assert image.pixel_size == (4.5, 4.5)


@pytest.mark.parametrize("pixels", [GREY8, GREY16])
def test_png_as_it_is(tmp_path, pixels):
    Pillow.fromarray(pixels).save(tmp_path / "a.PNG")
    image = read_image(tmp_path / "a.PNG")
    assert image.pixels.dtype == pixels.dtype
    assert np.array_equal(image.pixels, pixels)


def test_png_kinds_become_grey(tmp_path):
    path = tmp_path / "a.png"
    grey = Pillow.fromarray(GREY8)
    for kind in ("RGB", "RGBA", "LA", "P"):
        grey.convert(kind).save(path)
        assert np.array_equal(read_image(path).pixels, GREY8)
    Pillow.fromarray(COLOUR).save(path)
    assert np.array_equal(read_image(path).pixels, luminance(COLOUR))
    wide = np.stack([GREY16, GREY16 // 2, GREY16 // 3], -1)
    path.write_bytes(imagecodecs.png_encode(wide))
    assert np.array_equal(read_image(path).pixels, luminance(wide))


def test_jpeg_of_a_grey_camera_reads_the_same_in_colour(tmp_path):
    flat = Pillow.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1)))
    flat.save(tmp_path / "g.jpg", quality=95)
    flat.convert("RGB").save(tmp_path / "c.jpeg", quality=95)
    one, other = read_image(tmp_path / "g.jpg"), read_image(tmp_path / "c.jpeg")
    assert one.shape == (48, 64)
    assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1


def outcome(path):
    """The image and "", or None and what the user reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read_image(path), ""
        except DataError as error:
            return None, str(error)


def _samples(folder):
    tifffile.imwrite(folder / "plain.tif", GREY16)
    tifffile.imwrite(folder / "zip.tif", GREY16, compression="zlib")
    tifffile.imwrite(
        folder / "tiles.tif", np.tile(GREY16, (2, 2)), tile=(16, 16), compression="lzw"
    )
    tifffile.imwrite(folder / "pages.tif", np.stack([GREY16] * 3), imagej=True)
    Pillow.fromarray(GREY16).save(folder / "a.png")
    Pillow.fromarray(GREY8).save(folder / "a.bmp")
    Pillow.fromarray(GREY8).save(folder / "a.jpg")
    return sorted(folder.iterdir())


def test_a_file_cut_anywhere_is_refused_by_name_or_read_whole(tmp_path):
    (tmp_path / "whole").mkdir()
    for path in _samples(tmp_path / "whole"):
        whole, content = read_image(path), path.read_bytes()
        for length in [0, 1, 7, *np.linspace(8, len(content) - 2, 12).astype(int).tolist()]:
            cut = tmp_path / f"cut{path.suffix}"
            cut.write_bytes(content[:length])
            image, message = outcome(cut)
            if image is None:
                assert cut.name in message
            else:
                assert image.identity == whole.identity, (path, length)


def test_garbled_bytes_never_escape_as_another_error(tmp_path):
    (tmp_path / "whole").mkdir()
    for path in _samples(tmp_path / "whole"):
        content = path.read_bytes()
        for seed in range(20):
            rng = np.random.default_rng(seed)
            bad = bytearray(content)
            for place in rng.integers(0, min(len(bad), 400), 4):
                bad[place] = rng.integers(256)
            garbled = tmp_path / f"garbled{path.suffix}"
            garbled.write_bytes(bad)
            image, message = outcome(garbled)
            assert image is not None or garbled.name in message


def test_wrong_suffix_missing_and_unknown_files_are_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY8)
    shutil.copy(tmp_path / "a.tif", tmp_path / "is tiff.png")
    Pillow.fromarray(GREY8).save(tmp_path / "b.png")
    shutil.copy(tmp_path / "b.png", tmp_path / "is png.tif")
    (tmp_path / "folder.tif").mkdir()
    for name in ("is tiff.png", "is png.tif", "missing.tif", "folder.tif", "stack.czi", "bare"):
        with pytest.raises(DataError, match=name):
            read_image(tmp_path / name)
    shutil.copy(tmp_path / "b.png", tmp_path / "is png.jpg")
    assert np.array_equal(read_image(tmp_path / "is png.jpg").pixels, GREY8)


def test_images_are_found_in_natural_order_once(tmp_path):
    for name in ("w10.tif", "w2.tif", "sub/w1.PNG", ".hidden/a.tif", "._w2.tif", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_images([tmp_path, tmp_path / "w2.tif"])
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [
        "sub/w1.PNG",
        "w2.tif",
        "w10.tif",
    ]
    for wrong, message in ((tmp_path / "no", "no such"), (tmp_path / "notes.txt", "No reader")):
        with pytest.raises(DataError, match=message):
            find_images([wrong])
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no image"):
        find_images([tmp_path / "none"])
    with pytest.raises(DataError, match="no image"):
        find_images([])


def test_a_format_is_added_once(monkeypatch, tmp_path):
    class Raw:
        suffixes = (".raw8",)

        def read(self, path):
            return Image(np.frombuffer(path.read_bytes(), np.uint8)[None], name=path.name)

    monkeypatch.setattr("organoseg.io.formats._READERS", {})
    register(Raw())
    (tmp_path / "a.RAW8").write_bytes(b"abc")
    assert read_image(tmp_path / "a.RAW8", group="dish 3").group == "dish 3"
    assert suffixes() == (".raw8",)
    with pytest.raises(UsageError):
        register(Raw())


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("x/D6_auto_Plate_M_p00_z05_0_A02f00d0.TIF", "D6_auto_Plate_M/A02"),
        ("x/D6_auto_Plate_M_p00_z11_0_A02f03d1.TIF", "D6_auto_Plate_M/A02"),
        ("scan7/ch01_A_9_t1.tif", "scan7/A09"),
        ("scan7/image_01.tif", "scan7"),
    ],
)
def test_groups(path, group, tmp_path):
    assert group_of(tmp_path / path) == group


def test_every_kind_of_real_file(shared):
    data = shared / "data"
    kinds = {
        "crc_wells_16bit": (np.uint16, (682, 682)),
        "intestinal_zstack": (np.uint8, (1048, 1328)),
        "orgaquant_fullframes": (np.uint8, (1125, 1500)),
    }
    for folder, (dtype, shape) in kinds.items():
        found = find_images([data / folder])
        for path in {p.suffix.lower(): p for p in found}.values():
            image = read_image(path)
            assert (image.pixels.dtype, image.plane().shape) == (dtype, shape)
            assert image.plane().std() > 0
    wells = sorted((data / "intestinal_zstack").glob("*_A02f00d0.TIF"))
    planes = [read_image(path) for path in wells[:2]]
    assert planes[0].group == planes[1].group
    assert planes[0].pixel_size == pytest.approx((4.3229, 4.3229), rel=1e-4)
