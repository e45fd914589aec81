import pytest


@pytest.fixture(scope="package", autouse=True)
def private_ray():
    """None, in place of the room's: nothing here talks to a cluster. tests/end_to_end/test_launch.py does."""
