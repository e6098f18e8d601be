"""The dtypes of the structs of tables.pxd, for arrays that Python fills by the names of their fields."""
from cgraph._kernels.runtime import structs

cdef Term term
cdef Term[::1] terms = <Term[:1]>&term
TERM = structs.dtype_of(terms)

cdef Position position
cdef Position[::1] positions = <Position[:1]>&position
POSITION = structs.dtype_of(positions)

cdef OutputChannel output_channel
cdef OutputChannel[::1] output_channels = <OutputChannel[:1]>&output_channel
OUTPUT_CHANNEL = structs.dtype_of(output_channels)

cdef ChannelSet channel_set
cdef ChannelSet[::1] channel_sets = <ChannelSet[:1]>&channel_set
CHANNEL_SET = structs.dtype_of(channel_sets)

cdef PositionSet position_set
cdef PositionSet[::1] position_sets = <PositionSet[:1]>&position_set
POSITION_SET = structs.dtype_of(position_sets)

cdef ShiftedTap shifted_tap
cdef ShiftedTap[::1] shifted_taps = <ShiftedTap[:1]>&shifted_tap
SHIFTED_TAP = structs.dtype_of(shifted_taps)

cdef LayerSizes sizes
cdef LayerSizes[::1] layer_sizes = <LayerSizes[:1]>&sizes
LAYER_SIZES = structs.dtype_of(layer_sizes)
