"""Tells PyInstaller of the compiled modules, which no Python code names: they are chosen at run time."""

from pkgutil import iter_modules

from cgraph import _kernels

hiddenimports = [f"{_kernels.__name__}.{module.name}" for module in iter_modules(_kernels.__path__)]
