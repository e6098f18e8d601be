"""Sphinx builds the pages: `pip install -e ".[docs]" && sphinx-build -W docs build/docs`."""

from cgraph import __version__

project = "cgraph"
author = "The cgraph developers"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say the types
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False
myst_heading_anchors = 2
html_static_path = ["_static"]
html_theme_options = {"page_width": "1300px", "body_max_width": "auto", "font_size": "16px"}
toc_object_entries = False
