"""Errors of file systems in a user's words: what is missing, refused or out of reach."""

import errno
import os
import re
from pathlib import Path
from typing import Final

from ucluster_tune.errors import DataError, MissingError, UnreachableError

_NO_BUCKET: Final = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|Bucket '[^']*' not found")
_MISSING: Final = re.compile(r"NO_SUCH_KEY|RESOURCE_NOT_FOUND|Path does not exist")
_REFUSED: Final = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN|SIGNATURE_DOES_NOT_MATCH|EXPIRED"
    r"|MISSING_AUTHENTICATION|UNRECOGNIZED_CLIENT|INVALID_SIGNATURE|Forbidden"
    r"|HTTP status code:? 40[13]|(?i:credentials|permission denied|unauthenticated|unauthorized)"
)
_OUT_OF_REACH: Final = re.compile(
    r"NETWORK_CONNECTION|REQUEST_TIMEOUT|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|THROTTL"
    r"|curlCode|REQUEST_EXPIRED|HTTP status code:? (?:5\d\d|429)"
    r"|(?i:timed? ?out|could not connect|couldn't connect|connection (?:refused|reset)"
    r"|could(?: not|n't) resolve|deadline exceeded|retry policy exhausted|unavailable)"
)
_UNKNOWN_SCHEME: Final = re.compile(r"Unrecognized filesystem type")
_NO_TOKEN: Final = re.compile(r"OAuth2 access token")  # Google's library goes on asking for one
# What AWS' and Google's libraries wrap around the reason.
_REASON: Final = re.compile(
    r".*(?:Details: |last message of (?:PerformWork\(\) - )?)(.*?)(?: error_info=.*|\))?$"
)
_MAX_REASON: Final = 300


def in_words(error: Exception, place: str, missing_bucket: str | None = None) -> DataError:
    """Return the error about `place` in words: the fact, and what to do next.

    Args:
        error: of Arrow or of the operating system.
        place: path or URI.
        missing_bucket: the bucket's name if it is known that it is missing.
    """
    found = storage_error(error, place, missing_bucket)
    return found or DataError(f"{place}: cannot be used: {_short(_one_line(error))}")


def storage_error(
    error: Exception, place: str, missing_bucket: str | None = None
) -> DataError | None:
    """Return the error about `place` in words; None where what is in the file is to blame."""
    reason = _one_line(error)
    if isinstance(error, FileNotFoundError) or missing_bucket:
        return _about_missing(place, missing_bucket)
    if "://" not in place or place.startswith("file://"):
        number = getattr(error, "errno", None)
        return DataError(f"{place}: cannot be used: {_errno_in_words(number)}") if number else None
    if _NO_BUCKET.search(reason):
        return _about_missing(place, place.partition("://")[2].partition("/")[0])
    if _MISSING.search(reason):
        return _about_missing(place, None)
    return _about_server(place, reason)


def _about_missing(place: str, bucket: str | None) -> MissingError:
    if bucket is None:
        return MissingError(f"{place}: missing; check the name")
    return MissingError(
        f"{place}: there is no bucket {bucket}; check its name, and the server"
        f" ({_endpoint_in_words()})"
    )


def _about_server(place: str, reason: str) -> DataError | None:
    if _UNKNOWN_SCHEME.search(reason):
        return DataError(
            f"{place}: unknown scheme {place.partition(':')[0]}://; use a path, s3://BUCKET/FOLDER"
            " or gs://BUCKET/FOLDER"
        )
    # Who is refused may also be told to wait, so what is out of reach is looked for first.
    if _OUT_OF_REACH.search(reason) and not _NO_TOKEN.search(reason):
        server = f" and the server ({_endpoint_in_words()})" if place.startswith("s3:") else ""
        return UnreachableError(
            f"{place}: the storage does not answer: {_short(reason)}; check the network{server}"
        )
    if _REFUSED.search(reason) or _NO_TOKEN.search(reason):
        return DataError(
            f"{place}: access is refused; {_about_credentials(place)} ({_short(reason)})"
        )
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _short(reason: str) -> str:
    told = _REASON.match(reason)
    return (told[1] if told else reason)[:_MAX_REASON]


def _errno_in_words(number: int) -> str:
    ending = "; free some space" if number in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{os.strerror(number)}{ending}"


def _endpoint_in_words() -> str:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if os.environ.get(name):
            return f"{name} is {os.environ[name]}"
    return "AWS_ENDPOINT_URL is not set"


def _about_credentials(place: str) -> str:
    if place.startswith("gs:"):
        return "name a key file in GOOGLE_APPLICATION_CREDENTIALS, and check what it permits"
    if not place.startswith("s3:"):
        return "check the credentials of this machine, and what they permit"
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and what they permit"
    if os.environ.get("AWS_PROFILE") or (Path.home() / ".aws" / "credentials").exists():
        return "check the credentials in ~/.aws, and what they permit"
    return (
        "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write"
        " ~/.aws/credentials, or give the machine a role"
    )
