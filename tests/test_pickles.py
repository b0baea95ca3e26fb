"""Object arrays of strangers: what is data is read, nothing is run, and what is damaged is a sentence."""

import pickle
import struct

import numpy as np
import pytest

from slowfast_gta.errors import DataError
from slowfast_gta.pickles import load_object_array


def objects(items):
    array = np.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = item
    return array


def write(path, shape, pickled):
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": shape})
        file.write(pickled)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_object_arrays_of_any_protocol(tmp_path, protocol):
    array = objects([np.arange(6, dtype=np.float32).reshape(3, 2), ["a", b"b", np.float64(1.5)]])
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        pickle.dump(array, file, protocol=protocol)
    found = load_object_array(tmp_path / "x.npy")
    assert np.array_equal(found[0], array[0])
    assert found[1] == array[1]


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def test_object_arrays_run_nothing(tmp_path, capsys):
    np.save(tmp_path / "x.npy", objects([Evil()]), allow_pickle=True)
    with pytest.raises(DataError, match=r"x.npy"):
        load_object_array(tmp_path / "x.npy")
    assert capsys.readouterr().out == ""


def test_damaged_object_arrays(tmp_path):
    np.save(tmp_path / "x.npy", objects([np.zeros((3, 2))]))
    whole = (tmp_path / "x.npy").read_bytes()
    with pytest.raises(DataError):
        load_object_array(tmp_path / "x.npy", max_bytes=10)
    for at in range(0, len(whole), 7):
        (tmp_path / "cut.npy").write_bytes(whole[:at])
        with pytest.raises(DataError, match=r"cut.npy"):
            load_object_array(tmp_path / "cut.npy")
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        (tmp_path / "bad.npy").write_bytes(damaged)
        try:
            load_object_array(tmp_path / "bad.npy")
        except DataError as error:
            assert "bad.npy" in str(error)


def test_containers_come_out_as_they_went_in(tmp_path):
    content = {"a": np.arange(4.0), 3: [1, (2, None, True)], "text": {"b": b"bytes", "c": np.float32(0.5)}}
    np.save(tmp_path / "x.npy", content, allow_pickle=True)
    found = load_object_array(tmp_path / "x.npy")[()]
    assert found.keys() == content.keys()
    assert np.array_equal(found["a"], content["a"])
    assert found[3] == content[3]
    assert found["text"] == content["text"]


def test_one_array_in_many_places_is_one_array(tmp_path):
    shared = np.arange(3)
    np.save(tmp_path / "x.npy", objects([[shared], shared, (shared, shared)]), allow_pickle=True)
    found = load_object_array(tmp_path / "x.npy")
    assert found[0][0] is found[1] is found[2][0] is found[2][1]


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.",  # a tower of tuples as a key
        b"\x80\x02](" + b"]" * 100_000 + b"a" * 99_999 + b"e.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"abc.",  # a bytearray of an exabyte
        b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",  # a frame of an exabyte
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"N.",
        b"\x80\x04\x8f(K\x01\x90.",  # a set
        b"\x80\x02cnumpy\nndarray\n)\x81}b.",
        b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",
        b"\x80\x02K\x05)R.",  # calls a number
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"",
        b".",
    ],
    ids=range(12),
)
def test_pickles_written_by_hand(tmp_path, pickled):
    write(tmp_path / "x.npy", (), pickled)
    with pytest.raises(DataError, match=r"x\.npy"):
        load_object_array(tmp_path / "x.npy")


def test_a_list_that_holds_itself_many_times_over(tmp_path):
    """Thirty lists of ten times the list before: 10 ** 30 places, walked through once each; too deep, so refused."""
    content = ["x"]
    for _ in range(30):
        content = [content] * 10
    np.save(tmp_path / "x.npy", objects([content]), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy"):
        load_object_array(tmp_path / "x.npy")
    flat = ["x"]
    for _ in range(10):
        flat = [flat] * 10
    np.save(tmp_path / "x.npy", objects([flat]), allow_pickle=True)
    found = load_object_array(tmp_path / "x.npy")[0]
    for _ in range(10):
        assert len(found) == 10
        assert all(part is found[0] for part in found)
        found = found[0]
    assert found == ["x"]


def test_plain_arrays_and_files_that_are_not_there(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3))
    assert load_object_array(tmp_path / "x.npy").tolist() == [0, 1, 2]
    for path in (tmp_path / "absent.npy", tmp_path):
        with pytest.raises(DataError):
            load_object_array(path)
