import pytest

from faultkit import World
from faultkit.resume.campaign import PRELOADED


def a_world(size):
    return World(size, preload=(*PRELOADED, "tests.helpers.small_trainers"), launcher="torchrun", timeout=120)


@pytest.fixture(scope="package")
def worlds():
    """Warm worlds by their size: the small trainers keep nothing in their modules."""
    made = {}

    def of(size):
        if size not in made:
            made[size] = a_world(size)
        return made[size]

    yield of
    for world in made.values():
        world.close()
