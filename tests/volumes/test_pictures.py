from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from skimage.io import imread

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import read_picture, write_animation, write_picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 8), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (5, 8), dtype=np.uint16)
RGB = RNG.integers(0, 256, (5, 8, 3), dtype=np.uint8)
# Smooth, so that JPEG keeps it nearly.
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[40:200:48j, 90:220:64j], 128), -1).astype(np.uint8)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
def test_png_reads_exactly_with_the_top_row_first(tmp_path, array):
    path = save(tmp_path / "a.png", array)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.array, array.reshape(5, 8, -1))
    np.testing.assert_array_equal(picture.array.squeeze(), imread(path))
    assert picture.array.dtype == np.uint8
    assert picture.maximum == 255
    assert picture.path == path
    assert picture.array.flags.writeable


def test_16_bit_grey_keeps_its_bits(tmp_path):
    picture = read_picture(save(tmp_path / "a.png", GREY16))
    np.testing.assert_array_equal(picture.array[..., 0], GREY16)
    assert picture.array.dtype == np.uint16
    assert picture.maximum == 65535


def test_black_and_white_is_grey_from_0_to_255(tmp_path):
    picture = read_picture(save(tmp_path / "a.png", GREY > 127))
    np.testing.assert_array_equal(picture.array[..., 0], np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_parts_lie_over_white(tmp_path, channels):
    colour = RGB if channels == 4 else GREY[..., None]
    alpha = RNG.integers(0, 256, (5, 8, 1), dtype=np.uint8)
    alpha[0, 0], alpha[0, 1] = 0, 255
    picture = read_picture(save(tmp_path / "a.png", np.concatenate([colour, alpha], -1)))
    share = alpha / 255
    np.testing.assert_allclose(picture.array, colour * share + 255 * (1 - share), atol=1.01)
    assert picture.array.shape == (5, 8, channels - 1)
    assert (picture.array[0, 0] == 255).all()
    np.testing.assert_array_equal(picture.array[0, 1], colour[0, 1])


def test_a_palette_becomes_rgb(tmp_path):
    indexed = Image.fromarray(GREY % 4, mode=None).convert("P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    indexed.save(tmp_path / "a.png")
    palette = np.arange(10, 130, 10).reshape(4, 3)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").array, palette[GREY % 4])


def test_a_palette_with_a_transparent_colour_shows_white_there(tmp_path):
    indexed = Image.fromarray(GREY % 4, mode=None).convert("P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    indexed.save(tmp_path / "a.png", transparency=2)
    palette = np.arange(10, 130, 10).reshape(4, 3)
    palette[2] = 255
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").array, palette[GREY % 4])


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg"])
def test_jpeg_reads_nearly(tmp_path, name):
    picture = read_picture(save(tmp_path / name, SMOOTH, quality=98))
    np.testing.assert_allclose(picture.array.astype(int), SMOOTH, atol=6)


def test_grey_jpeg_stays_one_channel(tmp_path):
    assert read_picture(save(tmp_path / "a.jpg", SMOOTH[..., 0])).array.shape == (48, 64, 1)


def test_cmyk_becomes_rgb(tmp_path):
    Image.fromarray(SMOOTH).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    picture = read_picture(tmp_path / "a.jpg")
    np.testing.assert_allclose(picture.array.astype(int), SMOOTH, atol=8)


def test_a_cameras_rotation_mark_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn clockwise to see it upright"
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", quality=98, exif=exif)
    expected = np.rot90(SMOOTH, -1)
    np.testing.assert_allclose(read_picture(tmp_path / "a.jpg").array.astype(int), expected, atol=6)


def encoded(image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, format=image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"no picture at all", "neither PNG nor JPEG"),
        (encoded("GIF"), "neither PNG nor JPEG"),
        (encoded("BMP"), "neither PNG nor JPEG"),
        (encoded("PNG")[:60], "truncated or damaged"),
        (encoded("JPEG")[:-200], "truncated or damaged"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, content, words):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)


def test_missing_pictures_and_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(UserError, match="is a folder"):
        read_picture(tmp_path)


def test_an_animation_is_refused(tmp_path):
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="animation of 2 frames"):
        read_picture(tmp_path / "a.png")


def test_a_picture_too_large_to_unpack_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", RGB)
    for limit in (39, 10):  # Pillow warns above the limit and fails above twice of it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UserError, match="pixels"):
            read_picture(path)


@pytest.mark.parametrize("array", [GREY, GREY[..., None], RGB], ids=["2-d", "grey", "rgb"])
def test_written_pictures_read_the_same_by_scikit_image(tmp_path, array):
    write_picture(tmp_path / "new" / "a.png", array)
    np.testing.assert_array_equal(imread(tmp_path / "new" / "a.png"), array.squeeze())
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.jpg", GREY16),
        ("a.png", np.dstack([GREY16] * 3)),
        ("a.png", RGB.astype(float)),
        ("a.png", RGB[..., :2]),
        ("a.png", RGB[None]),
    ],
    ids=["16-bit JPEG", "16-bit colour", "float", "2ch", "4-d"],
)
def test_other_arrays_are_not_written(tmp_path, name, array):
    with pytest.raises(ValueError, match="uint8"):
        write_picture(tmp_path / name, array)


def test_16_bit_grey_is_written_with_its_bits(tmp_path):
    write_picture(tmp_path / "a.png", GREY16)
    np.testing.assert_array_equal(imread(tmp_path / "a.png"), GREY16)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").array[..., 0], GREY16)


@pytest.mark.parametrize("name", ["a.jpg", "b.JPEG"])
@pytest.mark.parametrize("array", [SMOOTH, SMOOTH[..., 0]], ids=["rgb", "grey"])
def test_jpeg_is_written_nearly_without_loss_and_without_metadata(tmp_path, name, array):
    write_picture(tmp_path / name, array)
    with Image.open(tmp_path / name) as image:
        assert image.format == "JPEG"
        assert not image.getexif()
        assert "comment" not in image.info
    picture = read_picture(tmp_path / name)
    np.testing.assert_allclose(picture.array.squeeze().astype(int), array, atol=4)


def test_other_endings_are_not_written(tmp_path):
    with pytest.raises(UserError, match=r"\.png, \.jpg"):
        write_picture(tmp_path / "a.gif", RGB)


def test_16_bit_colour_becomes_8_bit(tmp_path):
    # Pillow writes no such PNG: 2 × 1 pixels, 16 bits, RGB, by hand (PNG specification, 11.2).
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    pixels = np.array([[0, 32768, 65535], [256, 4096, 60000]], ">u2")
    content = b"\x89PNG\r\n\x1a\n"
    content += chunk(b"IHDR", (2).to_bytes(4) + (1).to_bytes(4) + bytes([16, 2, 0, 0, 0]))
    content += chunk(b"IDAT", zlib.compress(bytes(1) + pixels.tobytes())) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    picture = read_picture(tmp_path / "a.png")
    assert picture.array.dtype == np.uint8
    np.testing.assert_allclose(picture.array[0].astype(int), pixels / 257, atol=1)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_animated_gif_is_refused_whatever_its_name(tmp_path, name):
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    frames[0].save(tmp_path / name, format="GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="neither PNG nor JPEG"):
        read_picture(tmp_path / name)


def test_text_stands_in_the_png_and_changes_no_pixel(tmp_path):
    write_picture(tmp_path / "a.png", RGB, {"Synthetic": "made, not acquired – ü"})
    with Image.open(tmp_path / "a.png") as image:
        assert image.text == {"Synthetic": "made, not acquired – ü"}
        np.testing.assert_array_equal(np.asarray(image), RGB)
    write_picture(tmp_path / "b.png", RGB)
    with Image.open(tmp_path / "b.png") as image:
        assert image.text == {}


@pytest.mark.parametrize("array", [GREY, RGB // 64 * 64], ids=["grey", "rgb"])
def test_an_animation_shows_its_pictures_in_order_without_end(tmp_path, array):
    frames = [array, array[::-1], array[:, ::-1]]
    write_animation(tmp_path / "new" / "a.gif", frames, 70, "made, not acquired")
    with Image.open(tmp_path / "new" / "a.gif") as image:
        assert image.n_frames == 3
        assert image.info["loop"] == 0
        assert image.info["comment"] == b"made, not acquired"
        for number, frame in enumerate(frames):
            image.seek(number)
            assert image.info["duration"] == 70
            shown = np.asarray(image.convert("RGB")).astype(int)
            expected = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=-1)
            assert np.abs(shown - expected).mean() < 2


def test_an_animation_needs_its_ending_and_pictures(tmp_path):
    with pytest.raises(UserError, match=r"\.gif"):
        write_animation(tmp_path / "a.png", [RGB])
    with pytest.raises(ValueError, match="needs a picture"):
        write_animation(tmp_path / "a.gif", [])
