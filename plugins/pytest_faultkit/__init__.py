"""The pytest plugin of faultkit: see `pytest_faultkit.plugin`, all that pytest loads by itself."""
