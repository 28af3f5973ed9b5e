"""Two deliveries and a way back with containers, as docs/how-to/roll-back.md shows them."""

import pytest

from tests.docker.test_delivery import remove_servers
from tests.rollback_scenarios import back_and_forth


@pytest.mark.slow
def test_the_commands_of_the_page_roll_back_without_a_failed_request(
    engine, server_image, gateway_image, tmp_path
):
    images = {"IMAGE": server_image, "GATEWAY_IMAGE": gateway_image}
    settings = {
        f"ENVIRONMENTS__{environment}__{key}": image
        for environment in ("STAGING", "PRODUCTION")
        for key, image in images.items()
    }
    try:
        back_and_forth(tmp_path, "With containers", settings, "run cd")
    finally:
        remove_servers(engine, tmp_path / "nepse/.ml/nepse-direction")
