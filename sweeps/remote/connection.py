"""How the address of a root becomes a client: schemes, options, credentials, retries."""

import importlib.util
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store, from_url

from sweeps.errors import SweepError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config, S3CredentialProvider

_S3 = ("s3", "s3a")
_SCHEMES = (*_S3, "gs", "az", "abfs", "abfss")
_OPTIONS = ("endpoint_override", "scheme", "region")
_PROFILES = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
_REMEDY = "Write for example s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"

# Whoever asks for an upload tries again as well, so these few retries only bridge a moment.
_RETRIES: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}
_CLIENT: "ClientConfig" = {"allow_http": True, "connect_timeout": "5s", "timeout": "2min"}


def connect(uri: str) -> "ObjectStore":
    """Opens the store at an address; nothing is sent yet.

    Raises:
        SweepError: If it is no address of an object store, or names a profile that cannot be read.
    """
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    known = _OPTIONS if parts.scheme in _S3 else ()
    if parts.scheme not in _SCHEMES or not parts.netloc:
        schemes = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise SweepError(f"root {uri}: must begin with one of {schemes} and a bucket, but does not. {_REMEDY}.")
    if unknown := sorted(options.keys() - known):
        legal = f"of {', '.join(known)}" if known else "no option"
        raise SweepError(f"root {uri}: what follows the '?' must be {legal}, but got {unknown[0]!r}. Leave it out.")
    try:
        return _open(parts._replace(query="").geturl(), options, s3=parts.scheme in _S3)
    except BaseError as error:
        raise SweepError(
            f"root {uri}: address and credentials must be complete, but got: {brief(error)}. {_REMEDY}; set "
            f"{credentials_of(uri)}."
        ) from None


def _open(address: str, options: dict[str, str], *, s3: bool) -> "ObjectStore":
    if not s3:
        return from_url(address, client_options=_CLIENT, retry_config=_RETRIES)
    config: S3Config = {}
    if "endpoint_override" in options:
        config["endpoint"] = f"{options.get('scheme', 'https')}://{options['endpoint_override']}"
    if "region" in options:
        config["region"] = options["region"]
    return S3Store.from_url(
        address, config=config, client_options=_CLIENT, retry_config=_RETRIES, credential_provider=_profile()
    )


def _profile() -> "S3CredentialProvider | None":
    """Credentials from AWS_PROFILE and the files of profiles, which boto3 reads; None if the client finds its own."""
    named = os.environ.get("AWS_PROFILE")
    files = [Path(os.environ.get(variable) or default).expanduser() for variable, default in _PROFILES]
    if os.environ.get("AWS_ACCESS_KEY_ID") or not (named or any(file.exists() for file in files)):
        return None
    if importlib.util.find_spec("boto3") is None:
        if not named:
            return None
        raise SweepError(
            f"AWS_PROFILE: boto3 must be installed to read it, but is not, and got {named!r}. Install it "
            "(python -m pip install boto3), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            exit_code=1,
        )
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except ValueError:  # the files name no credentials
        return None
    except BotoCoreError as error:
        raise SweepError(f"AWS_PROFILE: must name a profile, but got: {error}. Correct or unset it.") from None


def credentials_of(uri: str) -> str:
    """The environment variables that hold the credentials for an address."""
    scheme = urlsplit(uri).scheme
    if scheme in _S3:
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if scheme == "gs":
        return "GOOGLE_APPLICATION_CREDENTIALS"
    return "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"


def brief(error: BaseException) -> str:
    """An error of the client in one line: the status and the store's own words, where it answered at all."""
    text = str(error).partition("\n\nDebug source")[0].strip()
    if status := re.search(r"status code: (\d{3} [A-Za-z -]+)", text):
        told = [found[1] for word in ("Code", "Message") if (found := re.search(f"<{word}>([^<\n]*)", text))]
        return f"{status[1]} ({': '.join(told).rstrip('.')})" if told else status[1].strip()
    return re.sub(r" in [\d.]+[mµ]?s, after .*?retry_timeout: \S+\s+-", " -", text.partition("\n")[0])
