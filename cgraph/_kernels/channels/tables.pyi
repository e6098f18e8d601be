import numpy as np

SUBCONVOLUTION: np.dtype[np.void]
