"""Installs the peers from PyPI, each in its own environment, apart from our dependencies."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".venv-peers"

PEERS = {
    "fasttrackml": ["fasttrackml==0.6.0"],
    "mlflow": ["mlflow==3.17.*", "psycopg2-binary"],
}


def program(peer: str, name: str) -> str:
    """The path of a program of a peer. Installs the peer at the first call."""
    folder = ENVIRONMENTS / peer
    stamp = folder / "installed.stamp"
    wanted = "\n".join(PEERS[peer])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {peer} into {folder.relative_to(ROOT)} (the first time only)")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *PEERS[peer]], check=True)
        stamp.write_text(wanted)
    return str(folder / "bin" / name)
