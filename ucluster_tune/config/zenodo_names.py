"""How a Zenodo record may be named: its number, its DOI or its address. Knows no network."""

import re

_RECORD = re.compile(
    r"""(?:zenodo:
         | (?:doi:|https?://(?:dx\.)?doi\.org/)?10\.5281/zenodo\.
         | https?://(?:www\.)?zenodo\.org/records?/
        )(?P<number>[0-9]{1,12})(?:[/?\#].*)?""",
    re.VERBOSE | re.IGNORECASE,
)
_START = re.compile(r"(zenodo:|doi:|10\.\d|https?:)", re.IGNORECASE)


def zenodo_number(name: str) -> str | None:
    """Return the number of the record that `name` means, None where it means something else.

    A bare number is none: it might be a folder.

    >>> zenodo_number("10.5281/zenodo.3602254"), zenodo_number("data/jets")
    ('3602254', None)
    >>> zenodo_number("https://zenodo.org/records/3602254/files/x.tar.gz")
    '3602254'
    """
    found = _RECORD.fullmatch(name.strip())
    return found["number"].lstrip("0") or None if found else None


def is_remote_name(name: str) -> bool:
    """Tell whether a text can be no path here: a DOI or an address, perhaps a wrong one.

    >>> is_remote_name("doi:10.1000/182"), is_remote_name("zenodo/jets")
    (True, False)
    """
    return _START.match(name.strip()) is not None
