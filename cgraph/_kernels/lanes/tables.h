/* The structs of the tables that the register tiles read; all numbers are offsets, in elements. */
#ifndef CGRAPH_LANES_TABLES_H
#define CGRAPH_LANES_TABLES_H

#include <stddef.h>

/* A term of a sum: the offsets of its weight and of its x. */
typedef struct {
    ptrdiff_t w, x;
} Term;

/* A position: its offsets in x and in y. */
typedef struct {
    ptrdiff_t x, y;
} Position;

#endif
