"""Tells PyInstaller of the compiled modules, which no Python code names: they are chosen at run time."""

from pkgutil import walk_packages

from cgraph import _kernels

hiddenimports = [module.name for module in walk_packages(_kernels.__path__, "cgraph._kernels.")]
