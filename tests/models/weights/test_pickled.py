"""Files that attack: whatever is in them, they are refused in a sentence and nothing in them runs."""

import io
import json
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from weight_files import Reduced, assert_refused, small

from slowfast_gta.errors import WeightsError
from slowfast_gta.models.weights.pickled import load_pickled
from slowfast_gta.models.weights.safetensors import load_safetensors

CAFFE2 = {"blobs": {"conv1_w": np.ones((8, 3, 1, 7, 7), np.float32)}}


def array_with_state(*state) -> Reduced:
    """An ndarray as numpy pickles it, with another state inside."""
    made = np.zeros(1).__reduce__()
    return type("Array", (), {"__reduce__": lambda self: (made[0], made[1], state)})()


def pickled_attacks(trace: Path) -> dict[str, object]:
    touch = f"touch {trace}"
    run = Reduced(os.system, touch)
    objects = np.empty(2, object)
    objects[:] = [run, run]
    records = np.zeros(2, [("a", "f4"), ("b", "O")])
    records["b"] = run
    return {
        "os.system": run,
        "builtins.eval": Reduced(eval, f"__import__('os').system('{touch}')"),
        "builtins.getattr": Reduced(getattr, Reduced(__import__, "os"), "system"),
        "beside good arrays": CAFFE2 | {"more": run},
        "in the place of an array": {"blobs": {"conv1_w": run}},
        "as a key": {"blobs": [Reduced(tuple, (run,))]},
        "nested reduce": Reduced(exec, Reduced(str, Reduced(str.format, "open({!r}, 'w')", str(trace)))),
        "array of objects": {"blobs": {"conv1_w": objects}},
        "array of records": {"blobs": {"conv1_w": records}},
        "subprocess": Reduced(__import__("subprocess").check_call, ["touch", str(trace)]),
        "numpy.load": Reduced(np.load, str(trace), None, True),
        "a torch storage": {"blobs": {"conv1_w": torch.zeros(2)}},
    }


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", pickled_attacks(Path("trace")))
def test_nothing_in_a_pickle_runs(tmp_path, name, protocol):
    trace, path = tmp_path / "trace", tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(pickled_attacks(trace)[name], protocol))
    assert_refused(small(), path, "was not read: it .*Only containers, text, numbers and numpy arrays are read")
    assert not trace.exists()
    if name in ("os.system", "builtins.eval", "beside good arrays", "array of objects", "array of records"):
        pickle.loads(path.read_bytes())
        assert trace.exists(), "the attack is a real one: read carelessly, it runs"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"cos\nsystem\n(S'touch trace'\ntR.", "it asks for os.system"),
        (b"(S'touch trace'\nios\nsystem\n.", "uses an instruction"),
        (b"(cos\nsystem\nS'touch trace'\no.", "it asks for os.system"),
        (b"\x80\x02\x8c\x02os\x8c\x06system\x93\x8c\x05touch\x85R.", "it asks for os.system"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "uses an instruction"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "array without content"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct.__globals__\n)R.", "it asks for numpy.core.multiarray._recon"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00idna\x86R.", "text encoding 'idna'"),
        (b"\x80\x02P1\n.", "uses an instruction"),
        (b"\x80\x02\x82\x01.", "uses an instruction"),
        (b"\x80\x02}}b.", "sets the inside of something that is not an array"),
        (b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.", "cannot be read as a pickle"),
        (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85RK\x03X\x01\x00\x00\x00O\x86b.", "byte order 'O'"),
        (b"\x80\x02}N)s.", "has a NoneType as a key"),
    ],
)
def test_instructions_written_by_hand(tmp_path, content, words):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        load_pickled(path)


def test_a_tower_of_tuples_as_a_key_does_not_crash_python(tmp_path):
    """Its hash would recurse in C, deeper than any stack."""
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02})" + b"\x85" * 500_000 + b"Ns.")
    assert_refused(small(), path, "has a tuple as a key")
    path.write_bytes(b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".")
    assert_refused(small(), path, "nested more than")


def test_declared_sizes_are_not_believed(tmp_path):
    f4 = np.dtype("f4")
    too_few = array_with_state(1, (10**6, 10**6), f4, False, b"\0" * 8)
    negative = array_with_state(1, (-1, 2), f4, False, b"\0" * 8)
    for array, words in ((too_few, "declares an array of 1000000000000 values"), (negative, "shape is")):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"blobs": {"conv1_w": array}}, 2))
        assert_refused(small(), tmp_path / "a.pkl", words)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.")  # bytes of an exabyte
    assert_refused(small(), tmp_path / "a.pkl", "cannot be read as a pickle")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")  # a memo of 4 thousand million places
    assert_refused(small(), tmp_path / "a.pkl", 'no "blobs"')


def test_one_text_named_a_thousand_times_does_not_fill_the_memory(tmp_path):
    text = "X" + "a" * 100_000
    encode = b"c_codecs\nencode\nq\x01"
    written = b"\x80\x02]" + encode + b"0X" + struct.pack("<I", len(text)) + text.encode() + b"q\x000"
    path = tmp_path / "a.pkl"
    path.write_bytes(written + b"h\x01h\x00X\x06\x00\x00\x00latin1\x86Ra" * 1000 + b".")
    with pytest.raises(WeightsError, match=rf"{path}\b.*\btimes larger\b"):
        load_pickled(path)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_torn_pickle_is_refused(tmp_path, protocol, part):
    whole = pickle.dumps(CAFFE2, protocol)
    (tmp_path / "a.pkl").write_bytes(whole[: int(part * len(whole))])
    assert_refused(small(), tmp_path / "a.pkl", "a.pkl (cannot be read as a pickle|was not read)")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04", b"\x80\x02.", b"\x80\x02]e.", b"\x80\x02Nt."])
def test_what_is_no_pickle_is_refused(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    assert_refused(small(), tmp_path / "a.pkl", "a.pkl cannot be read as a pickle|a.pkl was not read")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_what_is_data_is_read_as_pickle_reads_it(tmp_path, protocol):
    arrays = {
        "float": np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big endian": np.arange(4, dtype=">i4"),
        "truth": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "scalar": np.float64(2.5),
        "no axis": np.array(7, np.int64),
    }
    others = {"list": [1, -(2**70), 2.5, None, True, ("a", b"b\xff", "é"), []], "text": "latin \xe9"}
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"blobs": OrderedDict(arrays), "others": others}, protocol))
    found = load_pickled(path)
    assert found["others"]["list"][:5] == others["list"][:5] and found["others"]["text"] == others["text"]
    for name, array in arrays.items():
        assert found["blobs"][name].dtype == array.dtype, name
        np.testing.assert_array_equal(found["blobs"][name], array)


def test_pickles_of_python_2(tmp_path):
    """cPickle's protocol 2, as caffe2 wrote it: text and numbers alike as STRING of one byte a letter."""
    numbers = np.array([1.5, -2.0], "<f4").tobytes()
    path = tmp_path / "a.pkl"
    path.write_bytes(
        b"\x80\x02}q\x01U\x05blobsq\x02}q\x03U\x06conv1_q\x04cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray"
        b"\nq\x06K\x00\x85q\x07U\x01b\x87q\x08Rq\x09(K\x01K\x02\x85q\x0acnumpy\ndtype\nq\x0bU\x02f4K\x00K\x01\x87q\x0cRq"
        b"\x0d(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + numbers + b"tbss."
    )
    assert pickle.loads(path.read_bytes(), encoding="latin1")["blobs"]["conv1_"].tolist() == [1.5, -2.0]
    assert load_pickled(path)["blobs"]["conv1_"].tolist() == [1.5, -2.0]


# ------------------------------------------------------------------------------------------ torch files


def test_a_compressed_torch_file_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"s1.pathway0_stem.conv.weight": torch.zeros(500_000)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(tmp_path / "a.pth", "w") as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "a.pth").stat().st_size < 20_000
    assert_refused(small(), tmp_path / "a.pth", "is a compressed archive")


@pytest.mark.parametrize(
    "value",
    [torch.eye(3).to_sparse(), torch.zeros(3, device="meta"), torch.zeros(3, dtype=torch.complex64)],
    ids=["sparse", "meta", "complex"],
)
def test_tensors_that_are_no_plain_numbers(tmp_path, value):
    torch.save(small().state_dict() | {"s5.extra": value}, tmp_path / "a.pth")
    assert_refused(small(), tmp_path / "a.pth", "s5.extra is sparse, quantised, complex|cannot be read")


def test_what_a_file_asked_for_is_named(tmp_path):
    torch.save({"model_state": OrderedDict(), "history": Reduced(os.system, "true")}, tmp_path / "a.pth")
    assert_refused(small(), tmp_path / "a.pth", r"asks for (posix|os|nt)\.system.*could run code.*state dict alone")


# ------------------------------------------------------------------------------------------ .safetensors

GOOD = {"s1.a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def safetensors_bytes(header: dict | bytes, numbers: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + numbers


def entry(**changes) -> dict:
    return {"s1.a": GOOD["s1.a"] | changes}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\0\0",
        safetensors_bytes(GOOD, length=2**63),
        safetensors_bytes(GOOD, length=200_000_000),
        safetensors_bytes(GOOD, length=90_000_000),
        safetensors_bytes(b"no json"),
        safetensors_bytes(b"\xff\xfe"),
        safetensors_bytes(b"[1]"),
        safetensors_bytes(b"[" * 100_000),
        safetensors_bytes(b'{"s1.a": ' * 100_000),
        safetensors_bytes(b'{"s1.a": 3}'),
        safetensors_bytes(b'{"a": {"dtype": "F32"}}'),
        safetensors_bytes({"__metadata__": {"a": 3}}),
        safetensors_bytes(entry(shape=[-2])),
        safetensors_bytes(entry(shape=[2.0])),
        safetensors_bytes(entry(shape=[True, 2])),
        safetensors_bytes(entry(data_offsets=[0])),
        safetensors_bytes(entry(dtype="F128")),
        safetensors_bytes(entry(dtype="F4", shape=[16])),
        safetensors_bytes(entry(shape=[3])),
        safetensors_bytes(entry(shape=[2**40, 2**40], data_offsets=[0, 2**82])),
        safetensors_bytes(entry(shape=[2**70], data_offsets=[0, 0])),
        safetensors_bytes(entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0]), b""),
        safetensors_bytes(entry(data_offsets=[4, 12])),
        safetensors_bytes(entry(data_offsets=[8, 0])),
        safetensors_bytes(GOOD | {"s1.b": GOOD["s1.a"]}),
        safetensors_bytes(GOOD, b"\0" * 12),
        safetensors_bytes(GOOD, b"\0" * 7),
    ],
)
def test_safetensors_files_that_lie(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=re.escape(str(tmp_path / "a.safetensors"))):
        load_safetensors(tmp_path / "a.safetensors")


def test_tensors_outlive_a_change_of_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors_bytes(GOOD, b"\1" * 8))
    found, _ = load_safetensors(path)
    path.write_bytes(b"")
    assert bytes(found["s1.a"].view(torch.uint8)) == b"\1" * 8


def test_safetensors_numbers_of_every_type(tmp_path):
    tensors = [torch.tensor([1.5, -2.0], dtype=torch.bfloat16), torch.tensor(7), torch.tensor([[True], [False]])]
    tensors += [torch.zeros(0, 3), torch.tensor([-1], dtype=torch.int8), torch.tensor([2.5], dtype=torch.float64)]
    names = {torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL", torch.float32: "F32"}
    names |= {torch.int8: "I8", torch.float64: "F64"}
    header, numbers = {"__metadata__": {"made": "by hand"}}, io.BytesIO()
    for index, value in enumerate(tensors):
        begin = numbers.tell()
        numbers.write(value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
        offsets = [begin, numbers.tell()]
        header[str(index)] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": offsets}
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(header, numbers.getvalue()))
    found, metadata = load_safetensors(tmp_path / "a.safetensors")
    assert metadata == {"made": "by hand"}
    for index, value in enumerate(tensors):
        assert found[str(index)].dtype == value.dtype and torch.equal(found[str(index)], value)
