"""Lists the modules for PyInstaller that are imported by names which are made, or read from a table, at run time."""

from pkgutil import walk_packages

import cgraph
from cgraph import _kernels

hiddenimports = [
    *(module.name for module in walk_packages(_kernels.__path__, "cgraph._kernels.")),
    *sorted({*cgraph._MODULES.values(), *cgraph._MODULE_OF.values()}),
]
