"""The solver inside a program: threads, forked workers, one thread only, one run like another."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import wbm_ext

SIZES = [(5, 7), (40, 30), (130, 90), (400, 380)]  # the last is worth several threads
SECONDS = 60  # a guard: everything here takes a fraction of a second


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of torch's threads and puts it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def answer(k: int) -> tuple[Tensor, ...]:
    """Cost, potentials and gradients of problem k: balanced or unbalanced, float32 or float64."""
    rng = torch.Generator().manual_seed(k)
    n, m = SIZES[k % len(SIZES)]
    dtype = torch.float32 if k % 2 else torch.float64
    D = torch.rand(n, m, generator=rng, dtype=dtype).requires_grad_()
    a = (torch.rand(n, generator=rng, dtype=dtype) + 0.1).requires_grad_()
    result = wbm_ext.solve(D, a / a.sum(), epsilon=0.05, kappa=torch.inf if k % 3 else 1.0, max_iter=5000)
    gradients = torch.autograd.grad(result.cost + result.f.mean(), [D, a])
    return tuple(x.detach() for x in (result.cost, result._f, result._g, result.residual, *gradients))


def same(x: tuple[Tensor, ...], y: tuple[Tensor, ...]) -> bool:
    return all(map(torch.equal, x, y))


class Costs(Dataset):
    """Solves in ``__getitem__``, as a loader of weighted batches would."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, k: int) -> Tensor:
        return answer(k)[0].double()


def test_two_runs_agree_bitwise():
    assert all(same(answer(k), answer(k)) for k in range(6))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_number_of_torch_threads_changes_no_bit(threads, count):
    threads(2)
    expected = [answer(k) for k in range(8)]
    threads(count)
    assert all(map(same, (answer(k) for k in range(8)), expected))


def test_two_threads_may_solve_at_once():
    expected = [answer(k) for k in range(12)]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            assert all(map(same, pool.map(answer, range(12), timeout=SECONDS), expected))


def test_other_threads_run_while_a_solve_does():
    """The interpreter lock is released: this thread counts on while another one is inside a single solve."""
    D = torch.rand(400, 400, dtype=torch.float64)
    inside, done = threading.Event(), threading.Event()

    def work() -> None:
        inside.set()
        wbm_ext.solve(D, epsilon=0.01, tol=0, max_iter=1500, method="sinkhorn")
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    inside.wait(SECONDS)
    turns = 0
    while not done.wait(0.001):
        turns += 1
    worker.join(SECONDS)
    assert turns > 10  # with the lock held there would be a turn or two


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_workers_of_a_data_loader_may_solve(start):
    """Also when they are forked from a process whose solver has started its threads."""
    expected = torch.stack([Costs()[k] for k in range(8)])
    loader = DataLoader(Costs(), batch_size=2, num_workers=2, timeout=SECONDS, multiprocessing_context=start)
    assert torch.equal(torch.cat(list(loader)), expected)


def test_a_forked_child_may_solve_on_several_threads():
    """Loader workers are set to one thread; a plain fork is not, and the parent's thread pool does not come with it."""
    program = """
import os, signal, torch, wbm_ext
torch.set_num_threads(2)
D = torch.rand(400, 380, generator=torch.Generator().manual_seed(0))
expected = wbm_ext.sinkhorn(D, epsilon=0.05)
child = os.fork()
if child == 0:
    signal.alarm(30)
    torch.set_num_threads(2)
    os._exit(0 if torch.equal(wbm_ext.sinkhorn(D, epsilon=0.05), expected) else 1)
print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"  # 14: the alarm ended a child that hung


def run(program: str) -> str:
    """What ``program`` prints in a fresh interpreter, after the imports that every one here begins with."""
    source = "import os, signal, torch\ntorch.set_num_threads(2)\n" + program
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_forked_child_may_be_the_first_to_solve():
    """The OpenMP workers of the parent, which has used them, do not come with it either."""
    program = """
D = torch.rand(400, 380)
D @ D.T
child = os.fork()
if child == 0:
    signal.alarm(30)
    import wbm_ext
    os._exit(0 if float(wbm_ext.solve(D, epsilon=0.05).residual) < 1e-6 else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run(program) == "0"


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_a_solve_computes_on_the_workers_that_torch_has():
    """Beside libgomp no thread is started: two pools would share the processors."""
    program = """
import wbm_ext
D = torch.rand(600, 600)
D @ D
before = len(os.listdir("/proc/self/task"))
for _ in range(20):
    wbm_ext.solve(D, epsilon=0.05, tol=0, max_iter=20)
more = len(os.listdir("/proc/self/task")) - before
print(more if "libgomp" in open("/proc/self/maps").read() else min(more - 1, 0))
"""
    assert run(program) == "0"


def test_a_signal_handler_may_compute_and_solve_in_the_middle_of_a_solve():
    program = """
import wbm_ext
D = torch.rand(500, 500, generator=torch.Generator().manual_seed(0))
expected, answers = wbm_ext.solve(D, epsilon=0.05).cost, []
def handle(*_):
    (D @ D).sum()
    answers.append(torch.equal(wbm_ext.solve(D, epsilon=0.05).cost, expected))
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
wbm_ext.solve(D, epsilon=0.05, tol=0, max_iter=60_000, method="sinkhorn")
signal.setitimer(signal.ITIMER_REAL, 0)
print(bool(answers) and all(answers), torch.equal(wbm_ext.solve(D, epsilon=0.05).cost, expected))
"""
    assert run(program) == "True True"
