"""Where the fixtures come from."""

pytest_plugins = ["tests.emulator", "tests.twin", "tests.resources", "tests.voice"]
