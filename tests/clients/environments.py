"""Environments of clients that .venv lacks, made once and kept until their requirements change."""

import fcntl
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
# In .venv, so that git ignores them and `make clean` removes them.
ENVIRONMENTS = HERE.parents[1] / ".venv" / "clients"


class CannotInstallError(Exception):
    """What pip said, which may be no more than that it reaches no package index."""


def interpreter_of(name: str, *, beside_ours: bool = False) -> Path:
    """The Python of an environment with what `requirements-{name}.txt` pins.

    With `beside_ours` it has the packages of this interpreter's environment too, and only what
    that lacks is installed. Raises CannotInstallError where there is none yet and none can be made.
    """
    requirements = HERE / f"requirements-{name}.txt"
    environment = ENVIRONMENTS / name
    interpreter = environment / "bin" / "python"
    stamp = environment / "installed"
    wanted = f"{sys.version}\n{requirements.read_text()}"
    with _locked(name):
        if not stamp.is_file() or stamp.read_text() != wanted:
            _make(environment)
            if beside_ours:
                _show_ours(interpreter)
            _install(interpreter, requirements)
            stamp.write_text(wanted)
    return interpreter


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One process at a time: two test runs in one tree would install over each other."""
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(environment: Path) -> None:
    # Without a pip of its own, which takes longer to install than MLflow does.
    subprocess.run(
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(environment)], check=True
    )


def _show_ours(interpreter: Path) -> None:
    """A line of a .pth file is a folder that Python looks for packages in, after its own."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = subprocess.run([interpreter, "-c", ask], capture_output=True, text=True, check=True)
    Path(asked.stdout.strip(), "ours.pth").write_text(sysconfig.get_path("purelib"))


def _install(interpreter: Path, requirements: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "--disable-pip-version-check"]
    installed = subprocess.run(
        # Compiling is left to the imports: most of what is installed is never imported.
        [*pip, "install", "--quiet", "--no-compile", "--retries", "2", "-r", str(requirements)],
        capture_output=True,
        text=True,
    )
    if installed.returncode != 0:
        raise CannotInstallError(installed.stderr.strip())
