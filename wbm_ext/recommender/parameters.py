"""Checks of estimator parameters, shared with the treatment-effect systems."""

from __future__ import annotations

from wbm_ext.parameters import check_device, check_flag, check_integer, check_number

__all__ = ["check_device", "check_flag", "check_integer", "check_number"]
