"""The pytest plugin of faultkit: see `pytest_faultkit.plugin`, the only module that pytest loads by itself."""
