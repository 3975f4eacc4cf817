"""Depth maps: grey pictures and arrays, their units kept, nothing executed, nothing flat."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdbatch.errors import InputError
from sdbatch.sources import depths

H, W = 6, 9
DEPTH = np.random.default_rng(2).integers(0, 65536, (H, W)).astype(np.uint16)


def saved(path: Path, array: Any) -> Path:
    np.save(path / "d.npy", array)
    return path / "d.npy"


@pytest.mark.parametrize("name", ["d.png", "d.tif"])
def test_16_and_8_bits_keep_their_levels(name: str, tmp_path: Path) -> None:
    for levels in (DEPTH, (DEPTH >> 8).astype(np.uint8)):
        Image.fromarray(levels).save(tmp_path / name)
        found = depths.read(tmp_path / name)
        assert found.dtype == np.float32 and np.array_equal(found, levels)
        assert depths.size(tmp_path / name) == (W, H)


def test_floating_point_and_colour_that_is_grey(tmp_path: Path) -> None:
    Image.fromarray(DEPTH.astype(np.float32) / 7).save(tmp_path / "d.tif")
    assert np.array_equal(depths.read(tmp_path / "d.tif"), DEPTH.astype(np.float32) / 7)
    grey = (DEPTH >> 8).astype(np.uint8)
    Image.fromarray(np.repeat(grey[..., None], 3, 2)).save(tmp_path / "d.png")
    assert np.array_equal(depths.read(tmp_path / "d.png"), grey)
    Image.fromarray(np.stack([grey, grey, 255 - grey], -1)).save(tmp_path / "d.png")
    with pytest.raises(InputError, match=r"d\.png: is in colour; a depth map is grey"):
        depths.read(tmp_path / "d.png")


def test_a_depth_map_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(DEPTH).save(tmp_path / "d.png", exif=exif)
    assert np.array_equal(depths.read(tmp_path / "d.png"), np.rot90(DEPTH, -1))
    assert depths.size(tmp_path / "d.png") == (H, W)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i4", "i8", "f2", "<f4", ">f8"])
def test_arrays_of_any_real_type(dtype: str, tmp_path: Path) -> None:
    array = (DEPTH >> 9).astype(dtype)
    for order in ("C", "F"):
        path = saved(tmp_path, np.array(array, order=order))
        assert depths.read(path).dtype == np.float32
        assert np.array_equal(depths.read(path), array.astype(np.float32))
        assert depths.size(path) == (W, H)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (DEPTH[0], r"shape \(9,\)"),
        (DEPTH[None], r"shape \(1, 6, 9\)"),
        (DEPTH[:0], r"shape \(0, 9\)"),
        (DEPTH.astype(complex), "not a .npy array of numbers"),
        (np.array([["a", "b"]]), "not a .npy array of numbers"),
        (np.zeros((2, 2), [("a", "f4")]), "not a .npy array of numbers"),
        (np.array([[1.0, np.nan]]), "not finite"),
        (np.array([[1.0, np.inf]]), "not finite"),
        (np.array([[1.0, 1e300]]), "not finite"),
        (np.full((3, 3), 5), "is flat"),
        (np.array([[1e9, 1e9 + 1]]), "is flat"),
    ],
)
def test_arrays_that_are_no_depth(array: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        depths.read(saved(tmp_path, array))


class Trap:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "d.npy"
    np.save(path, np.array([[Trap(mark)]], object), allow_pickle=True)
    with pytest.raises(InputError, match="not a whole"):
        depths.read(path)
    path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(InputError, match="not a whole"):
        depths.read(path)
    assert not mark.exists()


def test_files_that_are_no_array(tmp_path: Path) -> None:
    path = tmp_path / "d.npy"
    whole = saved(tmp_path, DEPTH).read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            depths.read(path)
    np.savez(tmp_path / "z.npz", DEPTH)
    (tmp_path / "z.npz").rename(path)
    with pytest.raises(InputError, match="array of numbers"):
        depths.read(path)
    head = io.BytesIO()
    shape: Any = (10**9, 10**9)
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    path.write_bytes(head.getvalue() + bytes(64))
    with pytest.raises(InputError, match="not a whole"):
        depths.read(path)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(InputError, match="symbolic links"):
        depths.read(path)


def test_a_flat_picture(tmp_path: Path) -> None:
    Image.new("L", (W, H), 9).save(tmp_path / "d.png")
    with pytest.raises(InputError, match=r"d\.png: is flat"):
        depths.read(tmp_path / "d.png")
