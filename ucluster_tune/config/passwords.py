"""Passwords in URIs: found, and taken out of what is shown or stored."""

import re

_AUTHORITY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#:]*):(.*)@(.*)", re.DOTALL)
_PORT = re.compile(r"\d*([/?#]|$)")  # no password: what follows holds an `@` further on
_QUERY = re.compile(r"(?<=[?&])(?:password|passwd|pwd|sslpassword)=[^&#]*&?", re.IGNORECASE)


def uri_without_password(uri: str) -> str:
    """Return the URI as it may be shown and stored.

    Also where the password holds what it should not without an escape: nothing of it is left.

    >>> uri_without_password("https://ann:secret@tracking:5000/mlflow")
    'https://ann@tracking:5000/mlflow'
    >>> uri_without_password("postgresql+pg8000://ann:s/e#c@ret@db/mlflow?timeout=9&password=x")
    'postgresql+pg8000://ann@db/mlflow?timeout=9'
    """
    found = _AUTHORITY.fullmatch(uri)
    if found is not None:
        scheme, user, password, rest = found.groups()
        if not (scheme.startswith("http") and _PORT.match(password)):
            uri = f"{scheme}{user}@{rest}" if user else f"{scheme}{rest}"
    return re.sub(r"[?&]$", "", _QUERY.sub("", uri)) if "?" in uri else uri


def holds_password(uri: str) -> bool:
    """Return whether a URI is not to be shown as it is.

    >>> holds_password("https://tracking:5000/a@b"), holds_password("postgresql://ann:x@db/a")
    (False, True)
    """
    return uri_without_password(uri) != uri


def hide_passwords(text: str) -> str:
    """Return a text, such as another library's message, without the passwords of its URIs.

    >>> hide_passwords("cannot reach 'http://ann:secret@host' today")
    "cannot reach 'http://ann@host' today"
    """
    return re.sub(r"""[A-Za-z][A-Za-z0-9+.-]*://[^\s'"]+""", _hidden, text)


def _hidden(found: re.Match[str]) -> str:
    return uri_without_password(found.group())
