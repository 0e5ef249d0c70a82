"""What tests on engines let leases use: the test image, and registries on loopback."""

from __future__ import annotations

from provider.adapters.runtime.images.settings import ImageSettings

IMAGES = ImageSettings(local=("gp-test/*",), private_registries=("127.0.0.1:*",))
