"""Two loops in C++, compiled when first needed: what the machine gives, measured apart from any library.

A plain sum of an array (read bandwidth) and a multiply-add chain that touches no memory (what more threads bring). They
run on threads of their own. Without a compiler :func:`library` is None and the callers do without.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

SOURCE = r"""
#include <chrono>
#include <thread>
#include <vector>
template <class F> static double timed(int threads, F body) {
    auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> pool;
    for (int t = 1; t < threads; ++t) pool.emplace_back(body, t);
    body(0);
    for (auto& t : pool) t.join();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}
static volatile float sink;
extern "C" double read_sum(const float* x, long size, long repeats, int threads) {
    return timed(threads, [=](int t) {
        const long begin = size * t / threads, end = size * (t + 1) / threads;
        float total[64] = {0};
        for (long r = 0; r < repeats; ++r) {
            asm volatile("" ::: "memory");
            long i = begin;
            for (; i + 64 <= end; i += 64)
                for (int k = 0; k < 64; ++k) total[k] += x[i + k];
            for (; i < end; ++i) total[0] += x[i];
        }
        float all = 0;
        for (float part : total) all += part;
        sink = all;
    });
}
extern "C" double multiply_add(long steps, int threads) {
    return timed(threads, [=](int t) {
        const long mine = steps / threads;
        float value[128];
        for (int k = 0; k < 128; ++k) value[k] = 1.0f + k + t;
        for (long s = 0; s < mine; ++s)
            for (int k = 0; k < 128; ++k) value[k] = value[k] * 0.999f + 0.001f;
        float all = 0;
        for (float part : value) all += part;
        sink = all;
    });
}
"""


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None where there is no compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "loops.cpp", Path(folder) / "loops.so"
        source.write_text(SOURCE)
        flags = ["-O3", "-march=native", "-funroll-loops", "-shared", "-fPIC", "-pthread"]
        try:
            subprocess.run([compiler, *flags, str(source), "-o", str(target)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        loaded = ctypes.CDLL(str(target))
    loaded.read_sum.restype = loaded.multiply_add.restype = ctypes.c_double
    loaded.read_sum.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_int]
    loaded.multiply_add.argtypes = [ctypes.c_long, ctypes.c_int]
    return loaded


def _needed() -> ctypes.CDLL:
    found = library()
    if found is None:
        raise RuntimeError("no C++ compiler for the independent loops")
    return found


def read_seconds(array: np.ndarray, count: int, budget: float) -> float:
    """Median seconds of one plain sum of a contiguous float32 ``array`` by ``count`` threads."""
    if array.dtype != np.float32 or not array.flags.c_contiguous:
        raise ValueError("expected a contiguous float32 array")
    loaded = _needed()

    def once(repeats: int) -> float:
        return loaded.read_sum(array.ctypes.data, array.size, repeats, count) / repeats

    repeats = max(10, int(budget / 10 / max(once(10), 1e-9)))
    return float(np.median([once(repeats) for _ in range(10)]))


def multiply_add_seconds(count: int, budget: float) -> float:
    """Median seconds of a fixed number of multiply-adds in registers, shared by ``count`` threads."""
    loaded = _needed()
    steps = int(200_000 * budget / 10 / max(loaded.multiply_add(200_000, 1), 1e-9)) + 1000
    # the same work for every count: per step, so that budgets do not enter
    return float(np.median([loaded.multiply_add(steps, count) for _ in range(10)])) / steps
