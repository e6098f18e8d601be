/* Register tiles over samples that lie side by side. A *column* is two vectors of samples, or the only one.
 *
 * Design: a tile holds twelve vectors of sums, or nearly so: enough independent sums to hide the latency of two FMAs a
 * cycle, and as many as 16 registers hold beside the factors. Tiles have several sizes, so that the last rows and
 * positions fill one, too; each size is a function of its own, with all loops unrolled. The tiles are written in C,
 * since the compiler must be told to inline their common body: left alone, gcc shares one function among several sizes,
 * and keeps its sums in memory.
 */
#ifndef CGRAPH_MICROKERNELS_H
#define CGRAPH_MICROKERNELS_H

#include "common/simd.h"
#include "lanes/tables.h"

#define MAX_ROWS 6       /* rows of a panel, or of a tile of a weight gradient; outputs of a gradient tile */
#define MAX_POSITIONS 6  /* positions of a GEMM tile */
#define GEMM_SUMS 12     /* sums of a vector each: rows * positions * vectors of a column * parts of a GEMM tile */
#define GRADIENT_SUMS 12 /* taps * outputs of a gradient tile */
/* Whether the smallest blocks of samples have columns of one vector: half a line, or a line. */
#define HAS_NARROW_COLUMNS (4 * V_BYTES > V_LINE_BYTES)
#define PREFETCH_BYTES 128

/* GEMM tiles: sums over terms of weights times columns
 *
 * y_i[position.y] = start_i + Σ_t w_i[t.w] x[t.x + position.x]   or, where a row accumulates, y_i[position.y] += Σ_t …
 */

typedef struct {
    const real *w;
    real *y;
    real start;
    int accumulate;
} Row;

/* The rows of a panel and their terms. */
typedef struct {
    Row row[MAX_ROWS];
    ptrdiff_t rows;
    const real *x;
    const Term *term, *end;
    ptrdiff_t vectors; /* of a column */
} RowPanel;

/* Writes a column of sums to a row, or adds it. */
ALWAYS_INLINE void store_column(const Row *row, const Position *position, const vec *sum, int vectors) {
    real *y = row->y + position->y;
    vec start = v_set1(row->start);
    v_store(y, v_add(row->accumulate ? v_load(y) : start, sum[0]));
    if (vectors == 2) v_store(y + V_LANES, v_add(row->accumulate ? v_load(y + V_LANES) : start, sum[1]));
}

/* Adds a term to sum[row][column of vectors]. Registers hold the weights of the rows, or the vectors of the columns, of
 * whichever there are fewer, while the others are read one by one. */
ALWAYS_INLINE void add_term(
    const Term *term, const real *const *w, const real *const *x, vec *sum, int rows, int positions, int vectors) {
    vec held[GEMM_SUMS], v;
    int columns = positions * vectors, i, j;
    if (rows >= columns) {
        for (j = 0; j < columns; j++) {
            held[j] = v_load(x[j / vectors] + term->x + j % vectors * V_LANES);
            if (rows > 1) held[j] = v_opaque(held[j]);
        }
        for (i = 0; i < rows; i++) {
            v = v_set1(w[i][term->w]);
            for (j = 0; j < columns; j++) sum[i * columns + j] = v_fma(v, held[j], sum[i * columns + j]);
        }
    } else {
        for (i = 0; i < rows; i++) held[i] = v_opaque(v_set1(w[i][term->w]));
        for (j = 0; j < columns; j++) {
            v = v_load(x[j / vectors] + term->x + j % vectors * V_LANES);
            if (rows > 1) v = v_opaque(v);
            for (i = 0; i < rows; i++) sum[i * columns + j] = v_fma(held[i], v, sum[i * columns + j]);
        }
    }
}

/* Computes tiles of rows * positions of a panel that has a term. Where these are few, each sum is computed as `parts`
 * sums of every parts-th term, since an FMA waits for the one before it. */
ALWAYS_INLINE void gemm_tile(
    const RowPanel *panel, const Position *position, ptrdiff_t tiles, int rows, int positions, int vectors, int parts) {
    const real *w[MAX_ROWS], *x[MAX_POSITIONS];
    vec sum[GEMM_SUMS];
    const Term *term, *end = panel->end;
    int columns = positions * vectors, sums = rows * columns, i, j;
    for (i = 0; i < rows; i++) w[i] = panel->row[i].w;
    for (; tiles > 0; tiles--, position += positions) {
        for (j = 0; j < positions; j++) x[j] = panel->x + position[j].x;
        for (i = 0; i < parts * sums; i++) sum[i] = v_set1(0);
        term = panel->term;
        if (parts == 1) {
            do add_term(term, w, x, sum, rows, positions, vectors);
            while (++term != end);
        } else {
            for (; end - term >= parts; term += parts)
                for (i = 0; i < parts; i++) add_term(term + i, w, x, sum + i * sums, rows, positions, vectors);
            for (; term < end; term++) add_term(term, w, x, sum, rows, positions, vectors);
            for (j = 1; j < parts; j++)
                for (i = 0; i < sums; i++) sum[i] = v_add(sum[i], sum[j * sums + i]);
        }
        for (i = 0; i < rows; i++)
            for (j = 0; j < positions; j++)
                store_column(&panel->row[i], position + j, &sum[i * columns + j * vectors], vectors);
    }
}

/* Defines the tiles of one size. */
#define GEMM_TILE(rows, positions, vectors, parts)                                                                   \
    static void gemm_##rows##_##positions##_##vectors(const RowPanel *p, const Position *first, ptrdiff_t tiles) {   \
        gemm_tile(p, first, tiles, rows, positions, vectors, parts);                                                 \
    }

GEMM_TILE(1, 1, 2, 6)
GEMM_TILE(1, 2, 2, 1)
GEMM_TILE(1, 3, 2, 1)
GEMM_TILE(1, 4, 2, 1)
GEMM_TILE(1, 5, 2, 1)
GEMM_TILE(1, 6, 2, 1)
GEMM_TILE(2, 1, 2, 1)
GEMM_TILE(2, 2, 2, 1)
GEMM_TILE(2, 3, 2, 1)
GEMM_TILE(3, 1, 2, 1)
GEMM_TILE(3, 2, 2, 1)
GEMM_TILE(4, 1, 2, 1)
GEMM_TILE(5, 1, 2, 1)
GEMM_TILE(6, 1, 2, 1)

#if HAS_NARROW_COLUMNS
GEMM_TILE(1, 1, 1, 6)
GEMM_TILE(1, 2, 1, 4)
GEMM_TILE(1, 3, 1, 4)
GEMM_TILE(1, 4, 1, 2)
GEMM_TILE(1, 5, 1, 2)
GEMM_TILE(1, 6, 1, 2)
GEMM_TILE(2, 1, 1, 4)
GEMM_TILE(2, 2, 1, 2)
GEMM_TILE(2, 3, 1, 2)
GEMM_TILE(2, 4, 1, 1)
GEMM_TILE(2, 5, 1, 1)
GEMM_TILE(2, 6, 1, 1)
GEMM_TILE(3, 1, 1, 4)
GEMM_TILE(3, 2, 1, 2)
GEMM_TILE(3, 3, 1, 1)
GEMM_TILE(3, 4, 1, 1)
GEMM_TILE(4, 1, 1, 2)
GEMM_TILE(4, 2, 1, 1)
GEMM_TILE(4, 3, 1, 1)
GEMM_TILE(5, 1, 1, 2)
GEMM_TILE(5, 2, 1, 1)
GEMM_TILE(6, 1, 1, 2)
GEMM_TILE(6, 2, 1, 1)
#endif

typedef void (*GemmTile)(const RowPanel *, const Position *, ptrdiff_t);

/* The tiles of a panel with so many rows; the number of positions of the largest ones. */
typedef struct {
    ptrdiff_t most;
    GemmTile tile[MAX_POSITIONS];
} GemmTiles;

/* Returns the tiles of a panel. */
static inline const GemmTiles *tiles_of(const RowPanel *panel) {
    static const GemmTiles wide[MAX_ROWS] = {
        {6, {gemm_1_1_2, gemm_1_2_2, gemm_1_3_2, gemm_1_4_2, gemm_1_5_2, gemm_1_6_2}},
        {3, {gemm_2_1_2, gemm_2_2_2, gemm_2_3_2}},
        {2, {gemm_3_1_2, gemm_3_2_2}},
        {1, {gemm_4_1_2}},
        {1, {gemm_5_1_2}},
        {1, {gemm_6_1_2}},
    };
#if HAS_NARROW_COLUMNS
    static const GemmTiles narrow[MAX_ROWS] = {
        {6, {gemm_1_1_1, gemm_1_2_1, gemm_1_3_1, gemm_1_4_1, gemm_1_5_1, gemm_1_6_1}},
        {6, {gemm_2_1_1, gemm_2_2_1, gemm_2_3_1, gemm_2_4_1, gemm_2_5_1, gemm_2_6_1}},
        {4, {gemm_3_1_1, gemm_3_2_1, gemm_3_3_1, gemm_3_4_1}},
        {3, {gemm_4_1_1, gemm_4_2_1, gemm_4_3_1}},
        {2, {gemm_5_1_1, gemm_5_2_1}},
        {2, {gemm_6_1_1, gemm_6_2_1}},
    };
    if (panel->vectors == 1) return &narrow[panel->rows - 1];
#endif
    return &wide[panel->rows - 1];
}

/* Computes a panel at all positions, in tiles of nearly equal sizes. */
static inline void gemm_tiles(const RowPanel *panel, const Position *position, ptrdiff_t positions) {
    const GemmTiles *of = tiles_of(panel);
    ptrdiff_t tiles, size, larger, i, j;
    vec none[2] = {v_set1(0), v_set1(0)};
    if (panel->term == panel->end) {
        for (i = 0; i < panel->rows; i++)
            for (j = 0; j < positions; j++) store_column(&panel->row[i], position + j, none, (int)panel->vectors);
        return;
    }
    if (of->most == 1 || positions == 1) { /* asked first, since a division takes as long as a position */
        of->tile[0](panel, position, positions);
        return;
    }
    tiles = (positions + of->most - 1) / of->most, size = (positions + tiles - 1) / tiles;
    larger = positions - tiles * (size - 1);
    of->tile[size - 1](panel, position, larger);
    if (larger < tiles) of->tile[size - 2](panel, position + larger * size, tiles - larger);
}

/* Prefetches the weights of the next panels: no processor foresees reads of rows that lie pages apart. */
static inline void prefetch_weights(const RowPanel *panel) {
#ifdef __GNUC__
    const Term *term;
    for (term = panel->term; term != panel->end; term++)
        __builtin_prefetch((const char *)(panel->row[0].w + term->w) + PREFETCH_BYTES, 0, 2);
#else
    (void)panel;
#endif
}

/* Gradient tiles: sums over positions of x times g, lane by lane
 *
 * total[t][o] += Σ_position x[tap_offset_t + position.x] g[grad_offset_o + position.y]
 */

typedef struct {
    const real *x, *g;
    const ptrdiff_t *tap_offsets; /* one for each tap */
    const Term *grad_offsets;     /* one for each output, its .x */
    const Position *position, *end;
    ptrdiff_t vectors; /* the number of vectors of samples */
    real *total;
    ptrdiff_t pitch; /* the distance between the totals of two taps */
} GradientTile;

/* Computes a tile of taps * outputs over at least one position and one vector. */
ALWAYS_INLINE void gradient_tile(const GradientTile *p, int taps, int outputs) {
    const real *x[GRADIENT_SUMS], *g[GRADIENT_SUMS];
    vec total[GRADIENT_SUMS], held[GRADIENT_SUMS], v;
    const Position *position, *end = p->end;
    real *sums = p->total, *to;
    ptrdiff_t vectors = p->vectors, pitch = p->pitch;
    int t, o;
    for (t = 0; t < taps; t++) x[t] = p->x + p->tap_offsets[t];
    for (o = 0; o < outputs; o++) g[o] = p->g + p->grad_offsets[o].x;
    for (t = 0; t < taps * outputs; t++) total[t] = v_set1(0);
    do {
        position = p->position;
        do {
            if (taps <= outputs) {
                for (t = 0; t < taps; t++) held[t] = v_opaque(v_load(x[t] + position->x));
                for (o = 0; o < outputs; o++) {
                    v = v_load(g[o] + position->y);
                    if (taps > 1) v = v_opaque(v);
                    for (t = 0; t < taps; t++) total[t * outputs + o] = v_fma(held[t], v, total[t * outputs + o]);
                }
            } else {
                for (o = 0; o < outputs; o++) held[o] = v_opaque(v_load(g[o] + position->y));
                for (t = 0; t < taps; t++) {
                    v = v_load(x[t] + position->x);
                    if (outputs > 1) v = v_opaque(v);
                    for (o = 0; o < outputs; o++) total[t * outputs + o] = v_fma(v, held[o], total[t * outputs + o]);
                }
            }
        } while (++position != end);
        for (t = 0; t < taps; t++) x[t] += V_LANES;
        for (o = 0; o < outputs; o++) g[o] += V_LANES;
    } while (--vectors > 0);
    for (t = 0; t < taps; t++)
        for (o = 0; o < outputs; o++) {
            to = sums + t * pitch + o * V_LANES;
            v_store(to, v_add(v_load(to), total[t * outputs + o]));
        }
}

static void gradient_8_1(const GradientTile *p) { gradient_tile(p, 8, 1); }
static void gradient_4_1(const GradientTile *p) { gradient_tile(p, 4, 1); }
static void gradient_1_1(const GradientTile *p) { gradient_tile(p, 1, 1); }
static void gradient_6_2(const GradientTile *p) { gradient_tile(p, 6, 2); }
static void gradient_3_2(const GradientTile *p) { gradient_tile(p, 3, 2); }
static void gradient_1_2(const GradientTile *p) { gradient_tile(p, 1, 2); }
static void gradient_4_3(const GradientTile *p) { gradient_tile(p, 4, 3); }
static void gradient_2_3(const GradientTile *p) { gradient_tile(p, 2, 3); }
static void gradient_1_3(const GradientTile *p) { gradient_tile(p, 1, 3); }
static void gradient_3_4(const GradientTile *p) { gradient_tile(p, 3, 4); }
static void gradient_2_4(const GradientTile *p) { gradient_tile(p, 2, 4); }
static void gradient_1_4(const GradientTile *p) { gradient_tile(p, 1, 4); }
static void gradient_2_5(const GradientTile *p) { gradient_tile(p, 2, 5); }
static void gradient_1_5(const GradientTile *p) { gradient_tile(p, 1, 5); }
static void gradient_2_6(const GradientTile *p) { gradient_tile(p, 2, 6); }
static void gradient_1_6(const GradientTile *p) { gradient_tile(p, 1, 6); }

typedef struct {
    ptrdiff_t taps;
    void (*tile)(const GradientTile *);
} GradientKernel;

/* Computes a tile of the first taps of those given, and returns the number of these first taps. */
static inline ptrdiff_t gradient_taps(const GradientTile *p, ptrdiff_t taps, ptrdiff_t outputs) {
    static const GradientKernel tiles[MAX_ROWS][3] = {
        {{8, gradient_8_1}, {4, gradient_4_1}, {1, gradient_1_1}},
        {{6, gradient_6_2}, {3, gradient_3_2}, {1, gradient_1_2}},
        {{4, gradient_4_3}, {2, gradient_2_3}, {1, gradient_1_3}},
        {{3, gradient_3_4}, {2, gradient_2_4}, {1, gradient_1_4}},
        {{2, gradient_2_5}, {1, gradient_1_5}},
        {{2, gradient_2_6}, {1, gradient_1_6}},
    };
    const GradientKernel *tile = tiles[outputs - 1];
    /* Four taps become tiles of two and two, rather than of three and one. */
    if (outputs == 4 && taps == 4) tile++;
    while (tile->taps > taps) tile++;
    tile->tile(p);
    return tile->taps;
}

#endif
