from pathlib import Path

import pytest

from sweeps.errors import SweepError
from sweeps.store.cache import cached_root, shown, uri_of
from sweeps.store.paths import resolve_root, sweep_names


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_each_address_has_a_folder_of_its_own_that_says_what_it_is(cache: Path) -> None:
    addresses = ["s3://bucket/a", "s3://bucket/a/b", "s3://bucket-a", "s3://bucket/a?endpoint_override=host:9000"]
    roots = [resolve_root(address) for address in addresses]
    assert len(set(roots)) == 4
    for root, address in zip(roots, addresses, strict=True):
        assert root.parent == cache
        assert uri_of(root) == shown(root) == address
        assert sweep_names(root) == []
    assert roots[0].name.startswith("s3-bucket-a-")
    assert resolve_root("s3://bucket/a/") == roots[0]


def test_a_folder_is_no_copy_of_anything(tmp_path: Path) -> None:
    assert uri_of(tmp_path) is None
    assert shown(tmp_path) == str(tmp_path)
    assert uri_of(tmp_path / "missing") is None


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:secret@bucket/prefix",
        "s3://key@bucket/prefix",
        "s3://bucket/prefix?secret_key=secret",
        "s3://bucket/prefix?AccessKey=secret",
        "abfs://container:secret@account.dfs.core.windows.net/x",
        "s3://[key:secret@bucket",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(uri: str, cache: Path) -> None:
    with pytest.raises(SweepError) as raised:
        resolve_root(uri)
    assert raised.value.message == (
        "--root: must not hold credentials, which would be kept and shown, but does. Write for example "
        "s3://bucket/prefix, and give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or by AWS_PROFILE."
    )
    assert not cache.exists()


def test_the_container_of_an_azure_address_is_no_user() -> None:
    address = "abfs://container@account.dfs.core.windows.net/x"
    assert uri_of(cached_root(address)) == address


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path, cache: Path) -> None:
    cache.write_text("")
    with pytest.raises(SweepError, match=rf"^SWEEPS_CACHE {cache}: must be a folder that can be written, but got: "):
        cached_root("s3://bucket")
