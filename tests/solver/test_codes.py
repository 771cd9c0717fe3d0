"""Python and the compiled module mean the same by every integer that crosses between them."""

from __future__ import annotations

import pytest
import torch

from wbm_ext._native import core
from wbm_ext.solver import problem
from wbm_ext.solver.status import Status

pytestmark = pytest.mark.native


def test_the_codes_of_options_and_statuses_are_those_of_the_compiled_module() -> None:
    assert core.codes == {
        "reference": problem.REFERENCES,
        "criterion": problem.CRITERIA,
        "method": problem.METHODS,
        "gradient": problem.GRADIENTS,
        "bits16": {str(dtype).removeprefix("torch."): code for dtype, code in problem.BITS16.items()},
        "status": {bit.name: int(bit) for bit in Status},
    }
    assert set(problem.BITS16) == {torch.float16, torch.bfloat16}


def test_every_name_of_an_option_is_in_its_type() -> None:
    from typing import get_args

    for names, kind in (
        (problem.REFERENCES, problem.ReferenceName),
        (problem.CRITERIA, problem.CriterionName),
        (problem.METHODS, problem.MethodName),
        (problem.GRADIENTS, problem.GradientName),
    ):
        assert set(names) == set(get_args(kind))
