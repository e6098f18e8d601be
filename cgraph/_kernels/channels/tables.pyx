"""The dtypes of the structs of tables.pxd, for arrays that Python fills by the names of their fields."""
from cgraph._kernels.runtime import structs

cdef RowGroup row_group
cdef RowGroup[::1] row_groups = <RowGroup[:1]>&row_group

ROW_GROUP = structs.dtype_of(row_groups)
