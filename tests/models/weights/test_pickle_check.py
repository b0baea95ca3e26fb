"""What torch.load with weights_only lets a file do: hang, fill the memory, hide methods. Refused before it begins."""

import io
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from slowfast_gta.errors import WeightsError
from slowfast_gta.models.weights.pickle_check import check_pickle
from slowfast_gta.models.weights.read import load_torch_file, read_weights
from slowfast_gta.pickles import RefusedPickleError

WEIGHT = "s1.pathway0_stem.conv.weight"
TOWER = b"})" + b"\x85" * 500 + b"Ns"
ORDERED = b"ccollections\nOrderedDict\n)R"


def text(letters: str) -> bytes:
    encoded = letters.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def doubled(times: int) -> bytes:
    """Tuples that each hold the one before twice."""
    return b")q\x00" + b"h\x00\x86q\x00" * times


def call(name: str, *arguments: bytes) -> bytes:
    return f"c{name}\n".encode().replace(b" ", b"\n") + b"(" + b"".join(arguments) + b"tR"


def tensor() -> bytes:
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x02tQ"
    return call("torch._utils _rebuild_tensor_v2", storage, b"K\x00", b"K\x02\x85", b"K\x01\x85", b"\x89", ORDERED)


def named(letters: str, value: bytes) -> bytes:
    return b"}" + text(letters) + value + b"s"


def archive(path: Path, pickled: bytes, name: str | zipfile.ZipInfo = "archive/data.pkl") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, b"\x80\x02" + pickled + b".")
        file.writestr("archive/version", b"3\n")
        file.writestr("archive/byteorder", b"little")
        file.writestr("archive/data/0", b"\0" * 8)
    return path


AS_TEXT = call("_codecs encode", text("a" * 200_000), text("utf-32"))
COSTLY = {
    "a key that is hashed for years": b"}" + doubled(60) + b"Ns",
    "a set of it": call("builtins set", b"]" + doubled(60) + b"a"),
    "in an OrderedDict": call("collections OrderedDict", b"]" + doubled(60) + b"N\x86a"),
    "a long key, again and again": b"}(" + b"K\x01" * 20_000 + b"tq\x00Ns(" + b"h\x00N" * 10_000 + b"u",
    "bytes of a number": call("builtins bytearray", b"J\xff\xff\xff\x7f"),
    "bytes of a number, python 2": call("__builtin__ bytearray", b"J\xff\xff\xff\x7f"),
    "a tensor of a number": call("torch FloatTensor", b"J\x00\x00\x00\x40"),
    "a plain tensor of a number": b"ctorch\nTensor\nJ\x00\x00\x00\x40\x85\x81",
    "a storage of a number": call("torch.storage UntypedStorage", b"J\xff\xff\xff\x7f"),
    "a tensor of a number, by another": call(
        "torch._tensor _rebuild_from_type_v2", b"ctorch\nFloatTensor\n", b"ctorch\nTensor\n", b"J\0\0\0\x40\x85", b"}"
    ),
    "one text, encoded again and again": b"]" + AS_TEXT[:-1] + b"q\x01R(c_codecs\nencode\n" + b"h\x01R" * 999 + b"e",
    "one list, copied again and again": b"](" + b"K\x01" * 100_000 + b"eq\x000" + b"cbuiltins\nset\nh\x00\x85R" * 1_100,
    "a list in itself, again and again": b"]q\x00" + b"(h\x00h\x00e" * 40,
    "numbers of one hash": b"}("
    + b"".join(b"\x8a\x0b" + (number * (2**61 - 1)).to_bytes(11, "little") + b"N" for number in range(9, 2_000))
    + b"u",
}


@pytest.mark.parametrize("name", COSTLY)
def test_what_costs_more_than_it_says_is_refused(tmp_path, name):
    with pytest.raises(RefusedPickleError):
        check_pickle(io.BytesIO(b"\x80\x02" + COSTLY[name] + b"."))
    with pytest.raises(WeightsError, match=r"a\.pth was not read"):
        load_torch_file(archive(tmp_path / "a.pth", COSTLY[name]))


def hidden_name() -> zipfile.ZipInfo:
    """A name that Python's zipfile, from 3.12 on, takes from the extra field, and torch's reader from its place."""
    entry = zipfile.ZipInfo("archive/data.pkl")
    extra = b"\x01" + struct.pack("<I", zipfile.crc32(b"archive/data.pkl")) + b"archive/readme.txt"
    entry.extra = struct.pack("<HH", 0x7075, len(extra)) + extra
    return entry


@pytest.mark.parametrize("name", ["archive/DATA.PKL", "ARCHIVE/data.PKL", hidden_name()], ids=str)
def test_the_pickle_that_torch_reads_is_the_one_that_is_looked_through(tmp_path, name):
    """torch finds its parts whatever the case of their letters; the tower would be SIGSEGV if it were longer."""
    with pytest.raises(WeightsError):
        load_torch_file(archive(tmp_path / "a.pth", TOWER, name))


def test_parts_that_lie_on_each_other(tmp_path):
    """One part named a thousand times in the directory: to compare their checksums is to read it a thousand times."""
    path = archive(tmp_path / "a.pth", named(WEIGHT, tensor()))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/data/1", b"\0" * 5_000)
    raw = path.read_bytes()
    begin, end = raw.index(b"PK\x01\x02"), raw.rindex(b"PK\x05\x06")
    last = raw[raw.rindex(b"PK\x01\x02") : end]
    num, size = 5 + 999, end - begin + 999 * len(last)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, num, num, size, begin, 0)
    path.write_bytes(raw[:end] + 999 * last + tail)
    with zipfile.ZipFile(path) as file:
        assert len(file.infolist()) == num
    with pytest.raises(WeightsError, match="each other"):
        load_torch_file(path)


HIDING = {
    "of a dictionary": named("model_state", ORDERED + named(WEIGHT, tensor())[1:] + named("items", b"K\x03") + b"b"),
    "of the whole": ORDERED + named(WEIGHT, tensor())[1:] + b"}" + text("items") + b"Ns" + b"b",
    "of a Counter": call("collections Counter") + named(WEIGHT, tensor())[1:] + named("get", b"K\x03") + b"b",
    "of a parameter": named(
        WEIGHT,
        call("torch._utils _rebuild_parameter_with_state", tensor(), b"\x89", ORDERED, named("is_complex", b"K\x03")),
    ),
}


@pytest.mark.parametrize("name", HIDING)
def test_attributes_from_a_file_hide_no_method(tmp_path, name):
    found = read_weights(archive(tmp_path / "a.pth", HIDING[name])).tensors
    assert torch.equal(found[WEIGHT], torch.zeros(2))


def test_containers_that_hold_themselves_and_deep_ones(tmp_path):
    content = load_torch_file(archive(tmp_path / "a.pth", b"}q\x00" + text("a") + b"h\x00s"))
    assert content["a"] is content
    deep = named("a", b"]" * 500 + b"a" * 499)
    with pytest.raises(WeightsError, match="nested"):
        load_torch_file(archive(tmp_path / "a.pth", deep))
