"""Files of arrays from strangers: whatever is in them is one kind of error; nothing is reserved that is not there."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from slowfast_gta import plain_arrays
from slowfast_gta.errors import DataError
from slowfast_gta.plain_arrays import load_npz


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def npy(descr: str, shape: str, content: bytes = b"") -> bytes:
    """An .npy file whose header says what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def archive(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in {"a.npy": npy("'<f4'", "(2,)", b"\0" * 8), **members}.items():
            file.writestr(name, content)
    return buffer.getvalue()


def changed(whole: bytes, at: int, value: bytes) -> bytes:
    """`value` in the directory's entries, and two bytes before it in those that stand before the members."""
    content = bytearray(whole)
    for sign, position in ((b"PK\x01\x02", at), (b"PK\x03\x04", at - 2)):
        begin = content.find(sign)
        while begin >= 0:
            content[begin + position : begin + position + len(value)] = value
            begin = content.find(sign, begin + 4)
    return bytes(content)


def b(**members: bytes) -> bytes:
    return archive(**{f"{name}.npy": content for name, content in members.items()})


ATTACKS = {
    "empty": b"",
    "text": b"no arrays",
    "a torn archive": archive()[:80],
    "one array alone": npy("'<f4'", "(2,)", b"\0" * 8),
    "a pickle": pickle.dumps(Evil()),
    "an array that is a pickle": npy("'|O'", "()", pickle.dumps(Evil())),
    "a member that is a pickle": b(b=pickle.dumps(Evil())),
    "a member of objects": b(b=npy("'|O'", "()", pickle.dumps(Evil()))),
    "a member that is text": archive(readme=b"text"),
    "encrypted": changed(archive(), 8, b"\x01\x00"),
    "compressed by nothing known": changed(archive(), 10, b"\x63\x00"),
    "compressed wrongly": changed(archive(), 10, b"\x08\x00"),
    "more than the file": b(b=npy("'<f4'", "(1099511627776, 3)", b"\0" * 12)),
    "a little more than the file": b(b=npy("'<f4'", "(4,)", b"\0" * 12)),
    "less than the file": b(b=npy("'<f4'", "(2,)", b"\0" * 12)),
    "negative": b(b=npy("'<f4'", "(-1, -3)", b"\0" * 12)),
    "a thousand million texts of no size": b(b=npy("'<U0'", "(1000000000,)")),
    "a thousand million bytes of no size": b(b=npy("'|S0'", "(1000000000,)")),
    "voids of no size": b(b=npy("'|V0'", "(1000000000,)")),
    "records": b(b=npy("[('x', '<f4'), ('y', 'O')]", "(2,)", b"\0" * 24)),
    "times": b(b=npy("'<m8[s]'", "(2,)", b"\0" * 16)),
    "brackets": b(b=npy("(" * 9_000 + ")" * 9_000, "(2,)")),
    "code for a type": b(b=npy("__import__('os').system('true')", "(2,)")),
    "letters that there are not": b(b=npy("'<U1'", "(2,)", b"\xff\xff\xff\x7f" * 2)),
    "letters that there are not, the other way round": b(b=npy("'>U1'", "(2,)", b"\x7f\xff\xff\xff" * 2)),
    "version 9": b(b=npy("'<f4'", "(2,)", b"\0" * 8).replace(b"NUMPY\x01", b"NUMPY\x09")),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_one_kind_of_error(tmp_path, capsys, name):
    (tmp_path / "a.npz").write_bytes(ATTACKS[name])
    with pytest.raises(DataError, match=r"a\.npz"):
        load_npz(tmp_path / "a.npz")
    assert capsys.readouterr().out == ""


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(2**20))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        size = archive.getinfo("a.npy").file_size
    assert len(load_npz(tmp_path / "a.npz")["a"]) == 2**20
    monkeypatch.setattr(plain_arrays, "UNASKED_BYTES", 2**20)
    with pytest.raises(DataError, match=rf"\b{size} bytes\b"):
        load_npz(tmp_path / "a.npz")


def test_nothing_there(tmp_path):
    for path in (tmp_path, tmp_path / "absent.npz", Path("/dev/null")):
        with pytest.raises(DataError):
            load_npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_plain_arrays_are_what_they_were(tmp_path, save):
    arrays = {
        "numbers": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">i4"),
        "one": np.array(7),
        "text": np.array(["a", "Ünïcödé", "\udcff", ""]),
        "empty text": np.array([], str),
        "no letters": np.zeros(1, "U0"),
        "truth": np.array([True, False]),
        "none": np.zeros((0, 3)),
        "many zeros": np.zeros(2**20),
    }
    save(tmp_path / "a.npz", **arrays)
    found = load_npz(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array)
