"""Files over HTTP that arrive whole: resumed after a break, compared with their checksums.

Requests does HTTP (proxies, redirects, certificates). A file is written
under a temporary name and gets its own when its checksum holds.
"""

import hashlib
import random
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import requests
import urllib3

from ucluster_tune import __version__
from ucluster_tune.errors import DataError, MachineError
from ucluster_tune.storage.patience import begin
from ucluster_tune.storage.whole_files import cannot_be_written, publish

OnBytes = Callable[[str, int], None]
Say = Callable[[str], None]
Result = TypeVar("Result")

_CHUNK_BYTES: Final = 1 << 18
_MAX_DOCUMENT_BYTES: Final = 16 << 20
_LONGEST_RETRY_AFTER_S: Final = 600.0
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_WRONG_ADDRESS: Final = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)
_GO_ON: Final = "the same command goes on where it stopped"


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        name: its name, without folders.
        url: where it is.
        n_bytes: its size.
        md5: its checksum, hexadecimal.
    """

    name: str
    url: str
    n_bytes: int
    md5: str


@dataclass(frozen=True)
class ServerPatience:
    """How long a server is waited for.

    Attributes:
        tries: without a single new byte, before giving up.
        pause_s: after the first of them; doubled after each further one.
        longest_pause_s: limit of the pause, but for what the server itself asks for.
        timeout_s: limit of the wait for a connection, and for the next bytes.
    """

    tries: int = 7
    pause_s: float = 1.0
    longest_pause_s: float = 60.0
    timeout_s: float = 30.0


class _TryAgainError(Exception):
    """A failure that may pass."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class _Cancelled(Exception):  # noqa: N818 no error: another file failed, or Ctrl-C
    """Fetching was given up from outside."""


def in_words(n_bytes: int) -> str:
    """Return a size as people say it.

    >>> in_words(2_893_000_000), in_words(300)
    ('2.89 GB', '300 bytes')
    """
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.3g} {unit}"
    return f"{n_bytes} bytes"


def fetch_document(
    url: str, patience: ServerPatience, say: Say = lambda line: None
) -> tuple[bytes, int]:
    """Return what is at an address, up to 16 MB, and the HTTP status; waits are told to `say`.

    Raises:
        DataError: it is longer.
        MachineError: the server cannot be reached.
    """
    fetcher = _Fetcher(patience, threading.Event(), say)

    def attempt() -> tuple[bytes, int]:
        with fetcher.get(url, {"Accept": "application/json"}) as response:
            body = b""
            while data := fetcher.read(response, _CHUNK_BYTES):
                body += data
                if len(body) > _MAX_DOCUMENT_BYTES:
                    raise DataError(
                        f"{url}: the answer is longer than {_MAX_DOCUMENT_BYTES} bytes"
                    )
            return body, response.status_code

    return fetcher.patiently(attempt, url, lambda: 0)


def fetch_files(
    files: Sequence[RemoteFile],
    folder: Path,
    *,
    at_a_time: int,
    on_bytes: OnBytes = lambda name, n_bytes: None,
    say: Say = lambda line: None,
    patience: ServerPatience | None = None,
) -> None:
    """Fetch files into a folder, several at a time; those that are there already are kept.

    Args:
        files: what to fetch.
        folder: where to; made when it is missing.
        at_a_time: connections.
        on_bytes: called, from several threads, with a file's name and its new bytes; less than
            zero where it starts over.
        say: called, from several threads, with a line on each wait of a second or more.
        patience: with the server.

    Raises:
        DataError: a file is gone, or does not have its checksum.
        MachineError: the server cannot be reached, or the folder not written to.
    """
    cancelled, slots = threading.Event(), threading.BoundedSemaphore(at_a_time)

    def fetch(file: RemoteFile) -> None:
        with slots:
            _Fetcher(patience or ServerPatience(), cancelled, say).fetch(file, folder, on_bytes)

    tasks = [begin(partial(fetch, file), f"fetch-{file.name}") for file in files]
    try:
        wait(tasks, return_when=FIRST_EXCEPTION)
    finally:
        cancelled.set()  # of no effect where all is done
    errors = (task.exception() for task in tasks if task.done())
    for error in errors:
        if error is not None and not isinstance(error, _Cancelled):
            raise error


def n_bytes_left(files: Sequence[RemoteFile], folder: Path) -> int:
    """Return how much is left to fetch, going by sizes alone."""
    return sum(max(0, file.n_bytes - _size_of_any(file, folder)) for file in files)


def _partial(file: RemoteFile, folder: Path) -> Path:
    return folder / f".{file.name}.part"


def _size_of_any(file: RemoteFile, folder: Path) -> int:
    return max(_size(folder / file.name), _size(_partial(file, folder)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Fetcher:
    """Fetches one file after the other over one session."""

    def __init__(self, patience: ServerPatience, cancelled: threading.Event, say: Say) -> None:
        self._patience, self._cancelled, self._say = patience, cancelled, say
        self._session = requests.Session()
        # A compressed answer has another length and other ranges.
        self._session.headers.update(
            {"Accept-Encoding": "identity", "User-Agent": f"ucluster-tune/{__version__}"}
        )

    def patiently(
        self, attempt: Callable[[], Result], what: str, progress: Callable[[], int]
    ) -> Result:
        """Return what `attempt` returns, which is repeated while there is hope.

        Args:
            attempt: raises _TryAgainError for what may pass.
            what: named in errors.
            progress: a number that grows with what was achieved; tries start anew then.
        """
        best, n_tries = progress(), 0
        while True:
            try:
                return attempt()
            except _TryAgainError as error:
                now = progress()
                best, n_tries = (now, 0) if now > best else (best, n_tries + 1)
                if n_tries >= self._patience.tries:
                    raise MachineError(
                        f"{what}: {error}, {n_tries} times in a row; check the network, or wait:"
                        f" {_GO_ON}"
                    ) from error
                self._pause(what, error, n_tries)

    def _pause(self, what: str, error: _TryAgainError, n_tries: int) -> None:
        doubled = self._patience.pause_s * 2.0 ** (n_tries - 1) * random.uniform(0.75, 1.25)
        seconds = max(error.after_s, min(doubled, self._patience.longest_pause_s))
        if seconds >= 1:
            self._say(f"{what}: {error}; trying again in {seconds:.0f} s")
        if self._cancelled.wait(seconds):
            raise _Cancelled

    def get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Return an answer whose body is still to be read."""
        if self._cancelled.is_set():
            raise _Cancelled
        timeout = (self._patience.timeout_s, self._patience.timeout_s)
        try:
            response = self._session.get(url, headers=headers, stream=True, timeout=timeout)
        except _WRONG_ADDRESS as error:
            raise DataError(f"{url}: not an address: {error}") from error
        except requests.exceptions.SSLError as error:
            raise MachineError(f"{url}: its certificate is not trusted: {error}") from error
        except requests.exceptions.RequestException as error:
            raise _TryAgainError(f"cannot be reached ({_reason(error)})") from error
        if response.status_code in _TRY_AGAIN:
            after_s = _retry_after_s(response)
            response.close()
            if after_s > _LONGEST_RETRY_AFTER_S:
                raise MachineError(
                    f"{url}: the server is busy (HTTP {response.status_code}) and asks to come"
                    f" back in {after_s:.0f} s; {_GO_ON}"
                )
            raise _TryAgainError(f"the server is busy (HTTP {response.status_code})", after_s)
        return response

    def read(self, response: requests.Response, n_bytes: int) -> bytes:
        """Return the next bytes of an answer, at most so many; none at its end."""
        if self._cancelled.is_set():
            raise _Cancelled
        try:
            data = response.raw.read1(n_bytes)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _TryAgainError(f"the connection broke off ({_reason(error)})") from error
        assert isinstance(data, bytes)
        return data

    def fetch(self, file: RemoteFile, folder: Path, on_bytes: OnBytes) -> None:
        """Bring one file into a folder."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / file.name
            if target.exists():
                self._check_present(file, target)
                on_bytes(file.name, file.n_bytes)
                return
            partial = _partial(file, folder)
            for is_second in (False, True):
                self._fill(file, partial, on_bytes)
                if self._md5(partial) == file.md5:
                    break
                partial.unlink()
                on_bytes(file.name, -file.n_bytes)
                if is_second:
                    raise DataError(
                        f"{file.url}: came twice with another checksum than the record's"
                        f" {file.md5}; something on the way changes it, or the server's copy is"
                        " damaged: try another network, or write to the archive"
                    )
            publish(partial, target)
        except OSError as error:
            what = cannot_be_written(folder / file.name, error)
            raise MachineError(f"{what}, then {_GO_ON}") from error

    def _check_present(self, file: RemoteFile, target: Path) -> None:
        if _size(target) != file.n_bytes or self._md5(target) != file.md5:
            raise DataError(
                f"{target}: is there, but is not the record's file of {file.n_bytes} bytes with"
                f" md5 {file.md5}; remove it, or choose another folder"
            )

    def _fill(self, file: RemoteFile, partial: Path, on_bytes: OnBytes) -> None:
        """Fetch all bytes that a partial file lacks."""
        if _size(partial) > file.n_bytes:
            partial.unlink()
        on_bytes(file.name, _size(partial))
        if _size(partial) < file.n_bytes or not partial.exists():
            self.patiently(
                lambda: self._go_on(file, partial, on_bytes), file.url, lambda: _size(partial)
            )

    def _go_on(self, file: RemoteFile, partial: Path, on_bytes: OnBytes) -> None:
        """Append to the partial file until it is complete or the connection breaks."""
        offset = _size(partial)
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self.get(file.url, headers) as response:
            mode = "ab" if self._continues(response, file, offset) else "wb"
            if mode == "wb":
                on_bytes(file.name, -offset)
                offset = 0
            with partial.open(mode) as stream:
                while offset < file.n_bytes:
                    data = self.read(response, min(_CHUNK_BYTES, file.n_bytes - offset))
                    if not data:
                        raise _TryAgainError(
                            f"the connection broke off after {offset} of {file.n_bytes} bytes"
                        )
                    stream.write(data)
                    offset += len(data)
                    on_bytes(file.name, len(data))

    @staticmethod
    def _continues(response: requests.Response, file: RemoteFile, offset: int) -> bool:
        """Tell whether an answer goes on at `offset`, or is the whole file."""
        status = response.status_code
        if status == requests.codes.ok:
            return False
        if status == requests.codes.partial_content and offset:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
            if found and int(found[1]) == offset and found[2] in ("*", str(file.n_bytes)):
                return True
            raise DataError(
                f"{file.url}: asked for bytes from {offset} of {file.n_bytes}, the server sends"
                f" {response.headers.get('Content-Range')!r}; it is not the file of the record"
            )
        raise DataError(f"{file.url}: the server answers HTTP {status}, {response.reason}")

    @staticmethod
    def _md5(path: Path) -> str:
        digest = hashlib.md5(usedforsecurity=False)  # what Zenodo has
        with path.open("rb") as stream:
            while data := stream.read(1 << 20):
                digest.update(data)
        return digest.hexdigest()


def _retry_after_s(response: requests.Response) -> float:
    """Return the seconds that the server asks to wait; dates and nonsense are 0."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _reason(error: BaseException) -> str:
    """Return the innermost cause in a line: what a person can understand."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return " ".join(f"{error}".split())[:200] or type(error).__name__
