"""Files from the network, into a cache: resumed where they broke off, checked, and by one process of a machine.

    $XDG_CACHE_HOME/slowfast_gta/weights/HOST/PATH/FILE          or ~/.cache/...

FILE.part is one that is not complete, and FILE.part.version what the server calls its content (ETag), without which
nothing is resumed. Both go when FILE is there. A file that somebody puts at FILE is taken as it is.
"""

import hashlib
import http.client
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from iopath.common.file_io import PathHandler, PathManager
from tqdm import tqdm

from slowfast_gta.errors import WeightsError
from slowfast_gta.files import file_lock, sha256_of
from slowfast_gta.models.weights.zoo import find_published

logger = logging.getLogger("slowfast_gta")

_TRIES, _PAUSE_SEC = 5, 1.0  # in a row without one new byte; the pause doubles
_SILENCE_SEC = 30.0  # of the server, until it counts as gone
_CHUNK = 2**20
_LINE_SEC = 30.0  # between two lines, where there is no terminal to show a bar


def local_weights(reference: str | Path) -> Path:
    """The file on this machine that `reference` means: a path, a name of zoo.ZOO or an https URL.

    Downloaded on the first use. Raises WeightsError where it cannot be, which says where to put the file instead.
    """
    published = find_published(reference)
    if published is None:
        return Path(reference).expanduser()
    manager = PathManager()
    manager.register_handler(DownloadHandler())
    return Path(manager.get_local_path(published.url, sha256=published.sha256))


def cached_path(url: str) -> Path:
    """Where the file of `url` is kept."""
    parts = urlsplit(url)
    names = [re.sub(r"[^\w.+-]", "_", unquote(name)) for name in parts.path.split("/") if name.strip(".")]
    if parts.query:
        names[-1] = f"{hashlib.sha256(parts.query.encode()).hexdigest()[:12]}_{names[-1]}"
    home = os.environ.get("XDG_CACHE_HOME")
    root = Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache"
    return root.joinpath("slowfast_gta", "weights", parts.netloc.replace(":", "_"), *names)


class DownloadHandler(PathHandler):
    """iopath's handler of URLs for weights: its own one starts anew where it broke off, and checks nothing."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["https://", "http://"]

    def _isfile(self, path: str, **kwargs: object) -> bool:
        return cached_path(path).is_file()

    def _exists(self, path: str, **kwargs: object) -> bool:
        return self._isfile(path)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: object) -> IO:
        return open(self._get_local_path(path), mode, buffering)  # noqa: PTH123 - iopath's own signature

    def _get_local_path(self, path: str, force: bool = False, sha256: str = "", **kwargs: object) -> str:
        """`sha256`: the first digits that the file's must have."""
        file = cached_path(path)

        def warn() -> None:
            logger.info("Waiting for another process that is downloading %s.", file.name)

        try:
            if force or not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                with file_lock(file.with_name(f"{file.name}.lock"), on_wait=warn):
                    if force or not file.is_file():  # another process may have been faster
                        _download(path, file, sha256)
        except OSError as fault:
            raise WeightsError(f"{fault.filename or file}: {fault.strerror or fault}. {_instead(path, file)}") from None
        return str(file)


def _instead(url: str, file: Path) -> str:
    return (
        f"Download {url} on a machine that can reach it, and copy it to {file}; or give the path of a file "
        "that you have."
    )


def _download(url: str, file: Path, sha256: str) -> None:
    """Fetch `url` into `file`. Raises WeightsError."""
    part = file.with_name(f"{file.name}.part")
    failures, pause = 0, _PAUSE_SEC
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _fetch(url, part)
            break
        except urllib.error.HTTPError as fault:
            if fault.code < 500 and fault.code not in (408, 429):
                raise WeightsError(
                    f"{url} cannot be downloaded: {fault.code} {fault.reason}. {_instead(url, file)}"
                ) from None
            reason = f"{fault.code} {fault.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as fault:
            reason = str(getattr(fault, "reason", "") or fault or type(fault).__name__)
        failures = 1 if part.exists() and part.stat().st_size > before else failures + 1
        if failures == _TRIES:
            raise WeightsError(f"{url} cannot be downloaded ({reason}). {_instead(url, file)}")
        logger.info("The download of %s was interrupted (%s). Trying again.", file.name, reason)
        time.sleep(pause if failures > 1 else _PAUSE_SEC)
        pause *= 2
    _check(url, part, file, sha256)
    part.replace(file)
    _version_of(part).unlink(missing_ok=True)


def _check(url: str, part: Path, file: Path, sha256: str) -> None:
    """Raises WeightsError, and removes `part`, where it is not what was published."""
    digest = sha256_of(part) if sha256 else ""
    with part.open("rb") as content:
        head = content.read(512).lstrip().lower()
    is_page = head.startswith((b"<!doctype html", b"<html"))
    if digest.startswith(sha256) and head and not is_page:
        return
    part.unlink()
    _version_of(part).unlink(missing_ok=True)
    if is_page or not head:
        raise WeightsError(
            f"{url} returns {'a web page' if is_page else 'nothing'} instead of a file. {_instead(url, file)}"
        )
    raise WeightsError(
        f"{url}: the file has the SHA-256 {digest[:16]}..., but the published one has {sha256}...: it was changed in "
        f"transit, or has been replaced. It was not kept. {_instead(url, file)}"
    )


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows a redirection, but none from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.lower().startswith("https:") and not newurl.lower().startswith("https:"):
            raise urllib.error.HTTPError(
                req.full_url, 403, f"it redirects to {newurl}, which is not https", headers, fp
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, part: Path) -> None:
    """Add to `part` what it lacks; what is there stays where the server says that the content is the same."""
    version = _version_of(part)
    have = part.stat().st_size if part.exists() and version.exists() else 0
    headers = {"User-Agent": "slowfast_gta", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version.read_text()}
    opener = urllib.request.build_opener(_NoDowngrade)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=_SILENCE_SEC)
    except urllib.error.HTTPError as fault:
        if fault.code != 416:  # there is nothing behind what we have: begin anew
            raise
        version.unlink(missing_ok=True)
        raise ConnectionError("the server has no more data") from None
    with response:
        resumed = response.status == 206 and _first_byte(response) == have
        if response.status == 206 and not resumed:
            version.unlink(missing_ok=True)
            raise ConnectionError("the server sent another range than requested")
        _keep_version(version, response)
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        size = f" ({total / 1e6:.1f} MB)" if total else ""
        logger.info("%s %s%s to %s", "Resuming" if resumed else "Downloading", url, size, part.parent)
        with part.open("ab" if resumed else "wb") as file:
            _copy(response, file, have, total, part.stem)
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"received {part.stat().st_size} of {total} bytes")


def _copy(response: http.client.HTTPResponse, file: IO[bytes], have: int, total: int | None, title: str) -> None:
    on_terminal = sys.stderr.isatty()
    reported_at = time.monotonic()
    with tqdm(
        total=total, initial=have, desc=title, unit="B", unit_scale=True, disable=not on_terminal, leave=False
    ) as bar:
        while chunk := response.read1(_CHUNK):
            file.write(chunk)
            have += len(chunk)
            bar.update(len(chunk))
            if not on_terminal and time.monotonic() - reported_at >= _LINE_SEC:
                reported_at = time.monotonic()
                logger.info("%s: %.1f%s MB", title, have / 1e6, f" of {total / 1e6:.1f}" if total else "")


def _first_byte(response: http.client.HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _version_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _keep_version(version: Path, response: http.client.HTTPResponse) -> None:
    """Weak ETags do not promise the same bytes."""
    tag = response.headers.get("ETag") or ""
    tag = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified") or ""
    if tag:
        version.write_text(tag)
    else:
        version.unlink(missing_ok=True)
