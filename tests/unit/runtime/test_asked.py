"""The few words for what an engine is asked."""

from __future__ import annotations

import pytest

from provider.adapters.runtime.asked import operation


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("GET", "/v1.41/containers/json", "container_read"),
        ("GET", "/containers/0123abcd/json", "container_read"),
        ("POST", "/v1.45/containers/create", "container_write"),
        ("PUT", "/v1.45/containers/0123/archive", "container_write"),
        ("HEAD", "/v1.45/containers/0123/archive", "container_read"),
        ("DELETE", "/v1.41/containers/0123", "container_remove"),
        ("POST", "/v1.41/images/create", "image_write"),
        ("GET", "/v1.41/distribution/ghcr.io/a/b:c/json", "image_read"),
        ("DELETE", "/v1.41/networks/n", "network_remove"),
        ("POST", "/v1.41/volumes/create", "volume_write"),
        ("POST", "/v1.41/exec/1/start", "exec_write"),
        ("GET", "/version", "engine_read"),
        ("GET", "/v1.41/events", "engine_read"),
        ("GET", "/", "engine_read"),
        ("POST", "/whatever/a/tenant/writes", "engine_write"),
    ],
)
def test_no_name_of_anything_is_in_the_word(method: str, path: str, word: str) -> None:
    assert operation(method, path) == word
