"""Published weights, from a server on this machine: whole, resumed, checked, once, or a sentence."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from miniatures import CFG, TINY

from slowfast_gta import build_model, load_config, load_weights
from slowfast_gta.errors import WeightsError
from slowfast_gta.models.weights import check_weights, download
from slowfast_gta.models.weights.download import cached_path, local_weights
from slowfast_gta.models.weights.zoo import ZOO, Published, find_published, is_published

CONTENT = bytes(os.urandom(100_000))


class Server(ThreadingHTTPServer):
    """Gives `content`; the first `faults` answers end after half of what they promise."""

    content, etag, faults, status = CONTENT, '"one"', 0, 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []  # the Range of each

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/weights.pth"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.requests.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        first = 0
        if asked and self.headers["If-Range"] == server.etag:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
        if first >= len(server.content) and first:
            self.send_error(416)
            return
        rest = server.content[first:]
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(rest)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        if server.faults:
            server.faults -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_PAUSE_SEC", 0.01)
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield one
        one.shutdown()


def files_of(url: str) -> list[str]:
    """What is in the cache besides the lock."""
    return sorted(path.name for path in cached_path(url).parent.iterdir() if path.suffix != ".lock")


def test_a_file_is_downloaded_once(server):
    for _ in range(2):
        assert local_weights(server.url).read_bytes() == CONTENT
    assert server.requests == [None] and files_of(server.url) == ["weights.pth"]


def test_what_breaks_off_resumes_where_it_was(server):
    server.faults = 3
    assert local_weights(server.url).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=50000-", "bytes=75000-", "bytes=87500-"]


def test_another_process_resumes_too_but_not_with_other_content(server, monkeypatch):
    server.faults = 1
    part = cached_path(server.url).with_name("weights.pth.part")
    with monkeypatch.context() as patch, pytest.raises(WeightsError):
        patch.setattr(download, "_fetch", lambda url, part, fetch=download._fetch: _once(fetch, url, part))
        local_weights(server.url)
    assert part.stat().st_size == 50_000
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert local_weights(server.url).read_bytes() == CONTENT[::-1]
    assert server.requests == [None, "bytes=50000-"]


def _once(fetch, url, part):
    """As `fetch`; the process is killed where it breaks off: no new try sees what came."""
    try:
        fetch(url, part)
    except Exception as fault:
        raise WeightsError("killed") from fault


def test_without_an_etag_it_starts_anew(server):
    server.etag, server.faults = "", 1
    assert local_weights(server.url).read_bytes() == CONTENT
    assert server.requests == [None, None]


def test_a_server_that_gives_no_part_is_no_fault(server):
    local_weights(server.url).unlink()
    part = cached_path(server.url).with_name("weights.pth.part")
    part.write_bytes(CONTENT)
    part.with_name("weights.pth.part.version").write_text('"one"')  # complete, but not yet renamed: 416
    assert local_weights(server.url).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "num_requests"), [(404, 1), (403, 1), (503, 5)])
def test_what_cannot_be_had_is_refused_with_the_place_for_the_file(server, status, num_requests):
    server.status = status
    with pytest.raises(WeightsError) as caught:
        local_weights(server.url)
    assert str(cached_path(server.url)) in str(caught.value) and str(status) in str(caught.value)
    assert len(server.requests) == num_requests
    cached_path(server.url).write_bytes(b"by hand")
    assert local_weights(server.url).read_bytes() == b"by hand"


def test_without_a_network_it_is_the_same_sentence(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError) as caught:
        local_weights(server.url)
    assert str(cached_path(server.url)) in str(caught.value)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><p>Sign in", b"", CONTENT[1:]])
def test_what_is_not_what_was_published_is_not_kept(server, monkeypatch, content):
    name = "torchvision/resnet50"
    digest = hashlib.sha256(CONTENT).hexdigest()[:8]
    monkeypatch.setitem(ZOO, name, Published(server.url, digest))
    server.content = content
    with pytest.raises(WeightsError):
        local_weights(name)
    assert files_of(server.url) == []
    server.content, server.etag = CONTENT, '"right"'
    assert local_weights(name).read_bytes() == CONTENT


def test_several_at_once_download_once(server):
    with ThreadPoolExecutor(4) as pool:
        found = {path.read_bytes() for path in pool.map(local_weights, [server.url] * 4)}
    assert found == {CONTENT} and server.requests == [None]


def test_a_network_is_loaded_by_name_and_another_pixel_range_is_reported(server, monkeypatch, tmp_path):
    cfg = load_config(CFG, TINY)
    network = build_model(cfg)
    torch.save(network.state_dict(), tmp_path / "own.pth")
    server.content = (tmp_path / "own.pth").read_bytes()
    other = Published(server.url, "", (0.1, 0.2, 0.3), tuple(cfg.DATA.STD))
    monkeypatch.setitem(ZOO, "torchvision/resnet50", other)
    report = load_weights(build_model(cfg), "torchvision/resnet50")
    assert report.fits and report.path == cached_path(server.url)
    (note,) = check_weights(cfg, network, "torchvision/resnet50").notes
    assert "DATA.MEAN [0.1, 0.2, 0.3]" in note and "DATA.STD" not in note
    assert not check_weights(cfg, network, tmp_path / "own.pth").notes


def test_a_run_downloads_before_it_starts_and_not_when_it_resumes(server, run_tiny, tmp_path):
    network = build_model(load_config(CFG, TINY))
    torch.save(network.state_dict(), tmp_path / "own.pth")
    server.content = (tmp_path / "own.pth").read_bytes()
    keys = ("TRAIN.CHECKPOINT_FILE_PATH", server.url, "SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False)
    keys += ("TRAIN.CHECKPOINT_OTHER_CLASSES", "keep")
    code, _, err = run_tiny(*keys)
    assert code == 0 and server.requests == [None], err
    cached_path(server.url).unlink()
    server.status = 404
    assert run_tiny(*keys, "SOLVER.MAX_EPOCH", 2)[0] == 0
    code, _, err = run_tiny(*keys, "OUTPUT_DIR", tmp_path / "other")
    assert code == 1 and str(cached_path(server.url)) in err


@pytest.mark.parametrize(
    "url", ["http://example.org/a.pth", "ftp://example.org/a.pth", "https://example.org", "s3://a"]
)
def test_other_urls_are_refused(url):
    with pytest.raises(WeightsError):
        local_weights(url)
    assert is_published(url)


def test_names_paths_and_files_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_published("torchvision/resnet50") and not is_published("weights.pth")
    with pytest.raises(WeightsError, match="Did you mean torchvision/resnet50"):
        local_weights("torchvision/resnet500")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "resnet50").write_bytes(b"own")
    assert find_published("torchvision/resnet50") is None
    assert local_weights("torchvision/resnet50").read_bytes() == b"own"


def test_the_table_has_digests_where_they_are_published():
    for name, published in ZOO.items():
        assert published.url.startswith("https://") and published.mean and published.std
        assert len(published.sha256) == (8 if name.startswith("torchvision/") else 0), name
        assert cached_path(published.url).suffix in (".pth", ".pkl")
