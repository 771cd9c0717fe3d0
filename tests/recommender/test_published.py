"""The table of published hyper-parameters: every entry is one that the system takes."""

from __future__ import annotations

import pytest

from wbm_ext.errors import UnknownNameError
from wbm_ext.recommender import create, published, systems
from wbm_ext.recommender.published import DATASETS


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", systems())
def test_every_entry_makes_a_valid_system(name: str, dataset: str) -> None:
    params = published(name, dataset)
    model = create(name, **params)
    model._check_parameters()
    assert model.get_params() == create(name).get_params() | params
    assert bool(params) == (
        name not in {"multi-eib", "multi-imp", "as-ips", "snips", "ips-wbm", "dr-wbm", "kbips", "kbdr", "akbdr"}
        and (name != "dr-v2" or dataset == "coat")
    )


def test_names_that_do_not_exist() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'kuairec'"):
        published("ips", "kuai")
    with pytest.raises(UnknownNameError, match="did you mean 'ips'"):
        published("ipss", "coat")
