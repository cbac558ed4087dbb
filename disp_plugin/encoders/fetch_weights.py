"""Published weights: found in the library's own cache, or downloaded, or a message says how."""

import hashlib
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import torch
from huggingface_hub import constants
from mmengine.logging import print_log

CONNECT_SECONDS = 10


def cached_file(url: str) -> Path:
    """Get the file in the cache of ``torch.hub`` for an address, whether it exists or not."""
    return Path(torch.hub.get_dir()) / 'checkpoints' / url.rsplit('/', 1)[-1]


def find_local(checkpoint: str | Path, advice: str = '') -> Path:
    """Get the path of a file that ``checkpoint`` of an encoder names.

    Raises:
        FileNotFoundError: There is no such file; the message ends with ``advice``.
    """
    file = Path(checkpoint)
    if not file.is_file():
        raise FileNotFoundError(
            f'checkpoint is {str(file)!r}, and there is no such file (looked from {Path.cwd()})'
            + advice
        )
    return file


def fetch_url(url: str, owner: str, download: bool = True) -> Path:
    """Find weights in torch's cache, or download them there.

    Errors name ``owner``, which the weights are for.

    Raises:
        FileNotFoundError: It is not cached and was not downloaded.
        ValueError: The file's content does not match the hash in its name.
    """
    file = cached_file(url)
    expected = _hash_in_name(file)
    reason = 'download=False'
    if not file.is_file() and download:
        print_log(f'downloading the weights of {owner} from {url} to {file}', logger='current')
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with _impatience():
                torch.hub.download_url_to_file(url, str(file), expected, progress=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: not the expected hash
            reason = f'downloading failed: {error}'
    if not file.is_file():
        raise FileNotFoundError(
            f'the weights of {owner} are not at hand: no file {file.name} in {file.parent} '
            f'({reason}). Fetch {url} where there is a network and copy it to {file}, or set '
            'checkpoint= to a copy of it'
        )
    check_hash(file)
    return file


def fetch_from_hub(repo: str, names: Sequence[str], owner: str, download: bool = True) -> Path:
    """Find weights in Hugging Face's cache, or download them there.

    Args:
        repo (str): Repository, as ``timm/resnet18.a1_in1k``, with ``@revision`` where there is one.
        names (Sequence[str]): Names that the file may have; the first that exists is taken.
        owner (str): What the weights are for, to be named in errors.
        download (bool): Whether to download what is not cached. Defaults to True.

    Raises:
        FileNotFoundError: It is not cached and was not downloaded.
    """
    repo_id, _, revision = repo.partition('@')
    revision = revision or 'main'
    for name in names:
        found = huggingface_hub.try_to_load_from_cache(repo_id, name, revision=revision)
        if isinstance(found, str):
            return Path(found)
    reason = 'download=False'
    if download:
        unreachable = _why_unreachable(huggingface_hub.hf_hub_url(repo_id, names[0]))
        reason = f'downloading failed: {unreachable}'
        for name in () if unreachable else names:
            try:
                with _impatience():
                    return Path(huggingface_hub.hf_hub_download(repo_id, name, revision=revision))
            except Exception as error:  # of many kinds: the hub's, its HTTP client's, the system's
                text = str(error).strip().splitlines() or [type(error).__name__]
                reason = f'downloading failed: {text[0]}'
    folder = Path(constants.HF_HUB_CACHE) / f'models--{repo_id.replace("/", "--")}'
    raise FileNotFoundError(
        f'the weights of {owner} are not at hand: no file {" or ".join(names)} in {folder} '
        f'({reason}). Where there is a network, run `hf download {repo_id} {names[0]}` and copy '
        f'{folder} here, or set checkpoint= to a copy of that file'
    )


def check_hash(file: Path) -> None:
    """Compare a file's SHA-256 with the digits in its name, as in 'vgg16-397923af.pth'.

    Raises:
        ValueError: They differ.
    """
    expected = _hash_in_name(file)
    if expected is None:
        return
    found = hashlib.sha256()
    with file.open('rb') as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    if not found.hexdigest().startswith(expected):
        raise ValueError(
            f'the file {file} is damaged or is another one: its SHA-256 begins with '
            f'{found.hexdigest()[: len(expected)]}, but its name says {expected}; fetch it anew'
        )


def _hash_in_name(file: Path) -> str | None:
    match = re.search(r'-([0-9a-f]{8,64})\.', file.name)
    return match.group(1) if match else None


@contextmanager
def _impatience() -> Iterator[None]:
    """Limit how long connections wait, which sockets do forever by default."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _why_unreachable(url: str) -> str:
    """Ask once, since the hub's own client goes on asking for most of a minute."""
    try:
        request = urllib.request.Request(url, method='HEAD')
        with urllib.request.urlopen(request, timeout=CONNECT_SECONDS):
            return ''
    except urllib.error.HTTPError:
        return ''  # an answer; the hub's client will say what it means
    except OSError as error:
        return str(error)
