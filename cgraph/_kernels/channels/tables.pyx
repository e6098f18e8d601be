"""The dtypes of the structs of tables.pxd, for arrays that Python fills by the names of their fields."""
from cgraph._kernels.runtime import structs

cdef Subconvolution subconvolution
cdef Subconvolution[::1] subconvolutions = <Subconvolution[:1]>&subconvolution

SUBCONVOLUTION = structs.dtype_of(subconvolutions)
