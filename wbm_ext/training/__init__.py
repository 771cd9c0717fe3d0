"""One training loop for every model of the package, and reproducible randomness.

Imports torch, numpy and tqdm; knows nothing of recommenders or treatment effects.

:func:`train` minimises the sum of the terms that ``step(batch)`` returns. Where a batch brings several updates with
parameters of their own (joint learning: prediction, then imputation), ``step`` is a list of :class:`Phase`, run in
order on every batch::

    train(
        nn.ModuleDict({"prediction": f, "imputation": g}),
        [
            Phase(name="prediction", step=doubly_robust, parameters=f),
            Phase(name="imputation", step=residual, parameters=g, lr=0.001),
        ],
        batches,
        epochs=100,
    )

Each phase's terms give a gradient to its own parameters only, so nothing has to be detached by hand, and each has an
optimiser of its own (Adam unless told). All terms stand in one record an epoch, under different names.

A run that must survive a crash gets ``checkpoint=path``, and ``state={"streams": streams}`` with the
:class:`Streams` it draws from; started again with ``resume=True`` it ends bit for bit where it would have ended.
``log=path`` writes a JSON line an epoch. An estimator whose ``fit`` has several stages hands all of this on by
:class:`Run`. :mod:`wbm_ext.training.distributed` is for several processes.
"""

from __future__ import annotations

from wbm_ext.training import distributed
from wbm_ext.training.callbacks import Callback
from wbm_ext.training.determinism import deterministic
from wbm_ext.training.history import History
from wbm_ext.training.loop import train
from wbm_ext.training.phases import Phase
from wbm_ext.training.run import Attributes, Run, fingerprint
from wbm_ext.training.seeding import Streams, initialise_linear, initialise_normal

__all__ = [
    "Attributes",
    "Callback",
    "History",
    "Phase",
    "Run",
    "Streams",
    "deterministic",
    "distributed",
    "fingerprint",
    "initialise_linear",
    "initialise_normal",
    "train",
]
