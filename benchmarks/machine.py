"""Where and with what a benchmark ran."""

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import skbamm

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "cleanlab")


def description():
    """One line: date, processor, threads, Python and packages."""
    parts = [datetime.date.today().isoformat(), f"{os.cpu_count()} cores, {_processor()}"]
    parts += [f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}"]
    parts += [f"Python {platform.python_version()}", f"skbamm {skbamm.__version__}"]
    for package in PACKAGES:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"{package} not installed")
    return "; ".join(parts)


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
