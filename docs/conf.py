"""Sphinx: ``make docs`` builds the site to ``build/docs``; warnings are errors, doctests run, nothing is downloaded."""

from __future__ import annotations

import re
import warnings
from typing import Any

import wbm_ext

project = "wbm_ext"
author = "The wbm_ext developers"
copyright = author
version = release = wbm_ext.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # pages show their formulae without a network
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
html_theme = "furo"
html_title = f"wbm_ext {release}"
templates_path = ["_templates"]
exclude_patterns = ["gallery/README.rst", "generated/gallery/*.ipynb", "generated/gallery/*.py"]
nitpicky = False

autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = "none"  # the docstrings name types and shapes
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": "BaseEstimator,Module,int,tuple,UserWarning"}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

copybutton_exclude = ".linenos, .gp, .go"
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "generated/gallery",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
}
suppress_warnings = [
    "config.cache",  # sphinx-gallery's options hold functions, which cannot be pickled
    "ref.python",  # an attribute of two classes, named without its class
]
linkcheck_ignore = [r"https?://.*"]  # links inside the site alone
doctest_global_setup = "import torch, wbm_ext"
doctest_test_doctest_blocks = ""  # those of docstrings run with the tests; here only the blocks marked as tests

warnings.filterwarnings("ignore", message="Matplotlib is currently using agg")


def _skip(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out scikit-learn's metadata routing, whose texts point into its own site."""
    return True if re.fullmatch(r"set_\w+_request|get_metadata_routing|_\w+", name) else None


def _readable(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Before napoleon: formulae that stand indented in the text become literal, and |x| is no substitution."""
    ruled = [k for k, line in enumerate(lines) if set(line.strip()) == {"-"}]
    end, literal, result = (ruled[0] - 1 if ruled else len(lines)), False, []
    section = ""
    for k, line in enumerate(lines):
        if k + 1 in ruled:
            section = line.strip()
        elif section in ("Parameters", "Attributes") and line.endswith(".") and line[0] not in " -":
            result += ["Notes", "-----"]  # a sentence after the list is none of its entries
            section = "Notes"
        indented = line.startswith("    ")
        if line.strip() and not indented:
            literal = False
        elif k < end and indented and not literal and k and not lines[k - 1].strip():
            before = next((text for text in reversed(result) if text.strip()), "")
            if not before.rstrip().endswith("::") and not before.startswith("    "):
                result += ["::", ""]
            literal = True
        code = literal or line.lstrip().startswith((">>>", "..."))
        parts = line.split("``")
        parts[::2] = [part if code else part.replace("|", "\\|") for part in parts[::2]]
        result.append("``".join(parts))
    lines[:] = result


def setup(app: Any) -> None:
    """Connect the hooks."""
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _readable, priority=400)
