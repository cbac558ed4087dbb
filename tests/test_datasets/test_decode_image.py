import pickle
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError, features

from disp_plugin.datasets import IMG_EXTENSIONS, BadImageError, decode_image


def colors(height=6, width=8):
    """A picture whose rows, columns and channels are all different."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 30, y * 40, 255 - x * 20], -1).astype(np.uint8)


def save(image, path, **kwargs):
    Image.fromarray(image).save(path, **kwargs) if isinstance(image, np.ndarray) else image.save(
        path, **kwargs
    )
    return path


@pytest.mark.parametrize('ending', ['.png', '.bmp', '.tif', '.ppm', '.PNG'])
def test_lossless_rgb_comes_back_exactly(tmp_path, ending):
    path = save(colors(), tmp_path / f'a{ending}')
    decoded = decode_image(path)
    assert decoded.dtype == np.uint8 and decoded.flags.writeable
    np.testing.assert_array_equal(decoded, colors())
    np.testing.assert_array_equal(decode_image(str(path)), colors())
    np.testing.assert_array_equal(decode_image(path.read_bytes()), colors())


@pytest.mark.parametrize('ending', ['.jpg', '.webp'])
def test_lossy_rgb_comes_back_as_rgb_not_bgr(tmp_path, ending):
    image = np.broadcast_to(np.array([220, 120, 20], np.uint8), (16, 16, 3)).copy()
    decoded = decode_image(save(image, tmp_path / f'a{ending}', quality=95))
    assert np.abs(decoded.astype(int) - image).max() <= 4


@pytest.mark.parametrize('ending', ['.png', '.tif', '.pgm'])
def test_16_bit_gray_is_scaled_by_its_full_range_and_never_saturates(tmp_path, ending):
    gray = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    path = save(gray, tmp_path / f'a{ending}')
    expected = np.rint(gray.astype(np.float64) / 257)
    np.testing.assert_array_equal(decode_image(path)[..., 2], expected)


def test_gray_of_1_8_and_16_bits_becomes_three_equal_channels(tmp_path):
    gray = colors()[..., 0]
    decoded = decode_image(save(gray, tmp_path / 'gray.png'))
    np.testing.assert_array_equal(decoded, np.repeat(gray[..., None], 3, -1))
    bits = Image.fromarray((gray > 100).astype(np.uint8) * 255).convert('1')
    decoded = decode_image(save(bits, tmp_path / 'bits.png'))
    np.testing.assert_array_equal(decoded[..., 1], (gray > 100) * 255)
    wide = np.linspace(0, 65535, 48).astype('>u2').reshape(6, 8)
    image = Image.frombytes('I;16B', (8, 6), wide.tobytes())  # big-endian
    decoded = decode_image(save(image, tmp_path / 'wide.tif'))
    np.testing.assert_array_equal(decoded[..., 0], np.rint(wide.astype(np.float64) / 257))
    clear = np.array([[10, 20], [30, 20]], np.uint8)
    decoded = decode_image(save(clear, tmp_path / 'clear.png', transparency=20))
    np.testing.assert_array_equal(decoded[..., 0], [[10, 255], [30, 255]])


@pytest.mark.parametrize('kind', [np.int32, np.float32])
def test_pixels_without_a_known_range_are_refused_with_the_way_out(tmp_path, kind):
    path = save(colors()[..., 0].astype(kind), tmp_path / 'a.tif')
    with pytest.raises(BadImageError, match='range is unknown; save it with 8 or 16 bits'):
        decode_image(path)


@pytest.mark.parametrize('ending', ['.png', '.tif', '.pgm'])
def test_gray_of_12_bits_in_16_has_a_white_level(tmp_path, ending):
    gray = np.linspace(0, 4095, 48).astype(np.uint16).reshape(6, 8)
    path = save(gray, tmp_path / f'a{ending}')
    assert decode_image(path).max() == 16
    expected = np.rint(gray.astype(np.float64) * 255 / 4095)
    np.testing.assert_array_equal(decode_image(path, 4095)[..., 1], expected)
    np.testing.assert_array_equal(decode_image(path, 2000).max(), 255)


@pytest.mark.parametrize('ending', ['.png', '.tif', '.ppm'])
@pytest.mark.parametrize('channels', [3, 4])
def test_colors_of_12_bits_in_16_have_a_white_level(tmp_path, ending, channels):
    if (ending, channels) == ('.ppm', 4):
        pytest.skip('PPM has no opacity')
    rgb = colors().astype(np.uint16) * 16
    stored = np.dstack([rgb[..., ::-1], np.full(rgb.shape[:2], 65535, np.uint16)])[..., :channels]
    path = str(tmp_path / f'a{ending}')
    cv2.imwrite(path, np.ascontiguousarray(stored))
    assert decode_image(path).max() <= 16
    np.testing.assert_array_equal(decode_image(path, 4080), colors())


def test_a_white_level_changes_no_image_that_states_its_range(tmp_path):
    files = [save(colors(), tmp_path / 'a.png'), save(colors()[..., 0], tmp_path / 'b.png')]
    pixels = (np.arange(48, dtype='>u2') * 80).tobytes()
    (tmp_path / 'c.pgm').write_bytes(b'P5 8 6 4095\n' + pixels)
    for file in (*files, tmp_path / 'c.pgm'):
        np.testing.assert_array_equal(decode_image(file, 100), decode_image(file))


def test_a_white_level_is_the_range_of_numbers_without_one(tmp_path):
    values = np.linspace(-0.5, 1.5, 48, dtype=np.float32).reshape(6, 8)
    path = save(values, tmp_path / 'a.tif')
    expected = np.rint(values.astype(np.float64) * 255).clip(0, 255)
    np.testing.assert_array_equal(decode_image(path, 1.0)[..., 0], expected)
    values[2, 3] = np.nan
    with pytest.raises(BadImageError, match='pixels that are not finite'):
        decode_image(save(values, tmp_path / 'b.tif'), 1.0)


def test_transparency_is_laid_on_white(tmp_path):
    alpha = np.array([[0, 64, 255, 128]] * 3, np.uint8)
    rgba = np.dstack([np.full((3, 4), 200), np.full((3, 4), 10), np.zeros((3, 4)), alpha])
    decoded = decode_image(save(rgba.astype(np.uint8), tmp_path / 'a.png'))
    weight = alpha[..., None] / 255
    expected = rgba[..., :3] * weight + 255 * (1 - weight)
    assert np.abs(decoded - expected).max() <= 1
    np.testing.assert_array_equal(decoded[:, 0], 255)
    np.testing.assert_array_equal(decoded[:, 2], [[200, 10, 0]] * 3)


@pytest.mark.parametrize('ending', ['.png', '.gif'])
def test_a_palette_with_a_transparent_entry_shows_white_there(tmp_path, ending):
    image = Image.fromarray(np.array([[0, 1, 2, 1]] * 4, np.uint8), 'P')
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    decoded = decode_image(save(image, tmp_path / f'a{ending}', transparency=1))
    np.testing.assert_array_equal(
        decoded[0], [[255, 0, 0], [255, 255, 255], [0, 0, 255], [255, 255, 255]]
    )


def test_cmyk_jpeg_has_the_colors_of_the_print(tmp_path):
    ink = Image.new('CMYK', (16, 16), (0, 255, 255, 0))  # no cyan: red
    decoded = decode_image(save(ink, tmp_path / 'a.jpg', quality=95))
    assert np.abs(decoded.astype(int) - [255, 0, 0]).max() <= 8


@pytest.mark.parametrize('ending', ['.gif', '.webp', '.png', '.tif'])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, ending):
    frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'lime', 'blue')]
    path = tmp_path / f'a{ending}'
    lossless = {'lossless': True} if ending == '.webp' else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    np.testing.assert_array_equal(decode_image(path), np.full((8, 8, 3), [255, 0, 0]))


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('ending', ['.png', '.tif', '.jpg'])
def test_exif_orientation_is_undone(tmp_path, orientation, ending):
    # What the tag says of the stored rows and columns (Exif 2.3, 4.6.4), inverted by numpy alone.
    to_stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a[::-1].swapaxes(0, 1)[::-1, ::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[:, ::-1],
    }
    upright = np.kron(np.array([[0, 60, 120], [180, 210, 250]]), np.ones((8, 8))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(to_stored[orientation](upright))
    decoded = decode_image(save(stored, tmp_path / f'a{ending}', exif=exif))[..., 0]
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).max() <= (6 if ending == '.jpg' else 0)


@pytest.mark.skipif(not features.check('avif'), reason='this Pillow reads no AVIF')
@pytest.mark.parametrize('orientation', range(1, 9))
def test_avif_is_shown_upright(tmp_path, orientation):
    upright = np.kron(np.array([[0, 60, 120], [180, 210, 250]]), np.ones((8, 8))).astype(np.uint8)
    whole = decode_image(save(upright, tmp_path / 'a.png'))
    turned = Image.open(tmp_path / 'a.png')
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {5: 5, 6: 2, 7: 6, 8: 4, 2: 0, 3: 3, 4: 1}.get(orientation)
    stored = turned if back is None else turned.transpose(Image.Transpose(back))
    decoded = decode_image(save(stored, tmp_path / 'a.avif', exif=exif, quality=100))
    assert np.abs(decoded.astype(int) - whole).max() <= 6


def test_heic_is_read_where_its_plugin_is_installed(tmp_path):
    pytest.importorskip('pillow_heif')
    image = np.broadcast_to(np.array([220, 120, 20], np.uint8), (64, 64, 3)).copy()
    decoded = decode_image(save(image, tmp_path / 'a.heic', quality=95))
    assert '.heic' in IMG_EXTENSIONS and np.abs(decoded.astype(int) - image).max() <= 8


def test_what_is_named_jpg_but_is_heic_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'open', lambda file: _raise(UnidentifiedImageError()))
    (tmp_path / 'a.jpg').write_bytes(b'\0\0\0\x18ftypheic')
    with pytest.raises(BadImageError, match='it is HEIC, which is read after pip install pillow-h'):
        decode_image(tmp_path / 'a.jpg')


def _raise(error):
    raise error


def test_damaged_exif_does_not_cost_the_image(tmp_path):
    path = save(colors(), tmp_path / 'a.png', exif=b'Exif\x00\x00II*\x00\xff\xff\xff\xff')
    np.testing.assert_array_equal(decode_image(path), colors())


def bad_files(folder):
    """One file of each bad kind, with the words that its reason must hold."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = BytesIO()
    Image.fromarray(noise).save(whole, 'JPEG')
    png = BytesIO()
    Image.fromarray(noise).save(png, 'PNG')
    flipped = bytearray(png.getvalue())
    flipped[len(flipped) // 2] ^= 0xFF
    contents = {
        'cut.jpg': (whole.getvalue()[: len(whole.getvalue()) // 2], 'damaged or cut short'),
        'cut.png': (png.getvalue()[: len(png.getvalue()) // 2], 'damaged or cut short'),
        'flipped.png': (bytes(flipped), 'damaged or cut short'),
        'empty.png': (b'', 'the file is empty'),
        'text.jpg': (b'Dear diary, today I was named .jpg', 'not an image of a known format'),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    (folder / 'folder.png').mkdir()
    reasons = {name: reason for name, (_, reason) in contents.items()}
    return {**reasons, 'folder.png': 'it is a folder', 'absent.png': 'does not exist'}


def test_each_bad_file_is_named_with_its_reason(tmp_path):
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(BadImageError) as caught:
            decode_image(tmp_path / name)
        assert caught.value.path == str(tmp_path / name)
        assert reason in caught.value.reason, name
        assert str(caught.value) == (
            f'cannot read the image {tmp_path / name}: {caught.value.reason}'
        )


def test_an_image_beyond_the_limit_on_pixels_is_refused_not_unpacked(tmp_path, monkeypatch):
    path = save(colors(64, 64), tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(BadImageError, match='more than 2000 pixels, the limit of Pillow'):
        decode_image(path)


def test_the_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(BadImageError('a.png', 'the file is empty')))
    assert (error.path, error.reason) == ('a.png', 'the file is empty')
    assert str(BadImageError('Caught BadImageError in worker 0')).startswith('Caught')
