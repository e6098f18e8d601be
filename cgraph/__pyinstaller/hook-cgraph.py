"""Lists the compiled modules for PyInstaller, which cannot find them: their names are made at run time."""

from pkgutil import walk_packages

from cgraph import _kernels

hiddenimports = [module.name for module in walk_packages(_kernels.__path__, "cgraph._kernels.")]
