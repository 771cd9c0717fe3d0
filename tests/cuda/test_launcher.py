"""What the launcher of the kernels asks of the CUDA runtime, written down by one that does nothing; needs nvcc, no GPU."""

from __future__ import annotations

import subprocess

import pytest

from compiled import built
from kernel_compiler import FLAGS, ROOT, nvcc

# A launch with less shared memory takes none away from a kernel that a captured graph or another thread wants with more; the
# largest cluster that a device, a part of one, one without clusters and code of an older one have room for; a first call
# inside a capture may load code; an error is reported once.
EXPECTED = """\
shared memory: lowered 0 times, 231808 bytes
launch: 8 blocks of 64, clusters of 4, cooperative
clusters: 8 4 1 1
queries: 0 when asked again, 1 of another device
capture: relaxed while loading, global after
refusal: wbm_ext: a CUDA launch was refused: out of resources, cleared 1
"""


def test_what_is_asked_of_the_runtime() -> None:
    compiler = nvcc()
    if compiler is None:
        pytest.skip("needs nvcc (CUDACXX, PATH or CUDA_HOME)")
    source = ROOT / "tests" / "cuda" / "host" / "runtime.cu"
    how = ["-arch=sm_90", "-cudart", "none", f"-I{ROOT / 'csrc'}", str(source)]
    program = built([compiler, *FLAGS, *how], (ROOT / "csrc", source.parent), "")[0]
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert done.stdout == EXPECTED
