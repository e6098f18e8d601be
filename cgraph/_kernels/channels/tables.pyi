import numpy as np

ROW_GROUP: np.dtype[np.void]
