"""The peak memory of some Python, measured in a process of its own."""

import subprocess
import sys

_PEAK = """
import re
from pathlib import Path
def peak():
    # ru_maxrss would begin with the size of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
"""


def growth_mib(imports: str, code: str, *arguments: object) -> tuple[int, str]:
    """Return by how many MiB the peak grows in `code` after `imports`, and what it prints."""
    script = f"{_PEAK}\n{imports}\nbefore = peak()\n{code}\nprint(); print(peak() - before)"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    told, _, growth = output.rstrip().rpartition("\n")
    return int(growth), told.strip()
