import numpy as np

IN_PLACE: int
PREFETCHED: int
PACKED: int
PACKED_STRIDE: int
SUMMED_ROWS: int
TERM: np.dtype[np.void]
POSITION: np.dtype[np.void]
OUTPUT_CHANNEL: np.dtype[np.void]
CHANNEL_SET: np.dtype[np.void]
POSITION_SET: np.dtype[np.void]
SHIFTED_TAP: np.dtype[np.void]
LAYER_SIZES: np.dtype[np.void]
