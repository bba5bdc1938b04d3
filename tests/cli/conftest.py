"""What the tests of the command line share."""

import pytest

from faultkit.cli import main


@pytest.fixture
def faultkit(capsys):
    """Runs the command in this process; gives (status, stdout, stderr)."""

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run
