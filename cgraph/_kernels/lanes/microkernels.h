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

#define GEMM_SUMS 6         /* rows * positions of a GEMM tile: sums of a column each */
#define GRADIENT_SUMS 12    /* taps * outputs of a gradient tile: sums of a vector each */
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
    Row row[GEMM_SUMS];
    ptrdiff_t rows;
    const real *x;
    const Term *term, *end;
    ptrdiff_t vectors; /* of a column */
} RowPanel;

/* Writes a column of sums to a row, or adds it. */
ALWAYS_INLINE void store_column(const Row *row, const Position *position, vec left, vec right, int vectors) {
    real *y = row->y + position->y;
    vec start = v_set1(row->start);
    v_store(y, v_add(row->accumulate ? v_load(y) : start, left));
    if (vectors == 2) v_store(y + V_LANES, v_add(row->accumulate ? v_load(y + V_LANES) : start, right));
}

/* Computes tiles of rows * positions of a panel that has a term. Registers hold the rows' weights or, of a single
 * position, its column, while the others are read one by one. */
ALWAYS_INLINE void gemm_tile(
    const RowPanel *panel, const Position *position, ptrdiff_t tiles, int rows, int positions, int vectors) {
    const real *w[GEMM_SUMS], *x[GEMM_SUMS];
    vec left[GEMM_SUMS], right[GEMM_SUMS], factor[GEMM_SUMS], x0, x1 = v_set1(0);
    const Term *term, *end = panel->end;
    int i, j;
    for (i = 0; i < rows; i++) w[i] = panel->row[i].w;
    for (; tiles > 0; tiles--, position += positions) {
        for (j = 0; j < positions; j++) x[j] = panel->x + position[j].x;
        for (i = 0; i < rows * positions; i++) left[i] = right[i] = v_set1(0);
        term = panel->term;
        do {
            if (positions == 1) {
                x0 = v_opaque(v_load(x[0] + term->x));
                if (vectors == 2) x1 = v_opaque(v_load(x[0] + term->x + V_LANES));
                for (i = 0; i < rows; i++) {
                    factor[0] = v_set1(w[i][term->w]);
                    left[i] = v_fma(factor[0], x0, left[i]);
                    if (vectors == 2) right[i] = v_fma(factor[0], x1, right[i]);
                }
            } else {
                for (i = 0; i < rows; i++) factor[i] = v_opaque(v_set1(w[i][term->w]));
                for (j = 0; j < positions; j++) {
                    x0 = v_load(x[j] + term->x);
                    if (rows > 1) x0 = v_opaque(x0);
                    for (i = 0; i < rows; i++)
                        left[i * positions + j] = v_fma(factor[i], x0, left[i * positions + j]);
                    if (vectors < 2) continue;
                    x1 = v_load(x[j] + term->x + V_LANES);
                    if (rows > 1) x1 = v_opaque(x1);
                    for (i = 0; i < rows; i++)
                        right[i * positions + j] = v_fma(factor[i], x1, right[i * positions + j]);
                }
            }
        } while (++term != end);
        for (i = 0; i < rows; i++)
            for (j = 0; j < positions; j++)
                store_column(&panel->row[i], position + j, left[i * positions + j], right[i * positions + j], vectors);
    }
}

/* Computes single sums, each as six sums of every sixth term, since an FMA waits for the one before it. */
ALWAYS_INLINE void gemm_single(const RowPanel *panel, const Position *position, ptrdiff_t tiles, int vectors) {
    const real *w = panel->row[0].w, *x;
    vec left[GEMM_SUMS], right[GEMM_SUMS], factor;
    const Term *term;
    int i;
    for (; tiles > 0; tiles--, position++) {
        x = panel->x + position->x;
        for (i = 0; i < GEMM_SUMS; i++) left[i] = right[i] = v_set1(0);
        for (term = panel->term; term + GEMM_SUMS <= panel->end; term += GEMM_SUMS)
            for (i = 0; i < GEMM_SUMS; i++) {
                factor = v_set1(w[term[i].w]);
                left[i] = v_fma(factor, v_load(x + term[i].x), left[i]);
                if (vectors == 2) right[i] = v_fma(factor, v_load(x + term[i].x + V_LANES), right[i]);
            }
        for (; term < panel->end; term++) {
            factor = v_set1(w[term->w]);
            left[0] = v_fma(factor, v_load(x + term->x), left[0]);
            if (vectors == 2) right[0] = v_fma(factor, v_load(x + term->x + V_LANES), right[0]);
        }
        for (i = 1; i < GEMM_SUMS; i++) {
            left[0] = v_add(left[0], left[i]);
            right[0] = v_add(right[0], right[i]);
        }
        store_column(&panel->row[0], position, left[0], right[0], vectors);
    }
}

/* Defines the tiles of one size, for columns of one vector and of two. */
#define GEMM_TILES(rows, positions)                                                                           \
    static void gemm_##rows##_##positions##_1(const RowPanel *p, const Position *first, ptrdiff_t tiles) {    \
        gemm_tile(p, first, tiles, rows, positions, 1);                                                       \
    }                                                                                                         \
    static void gemm_##rows##_##positions##_2(const RowPanel *p, const Position *first, ptrdiff_t tiles) {    \
        gemm_tile(p, first, tiles, rows, positions, 2);                                                       \
    }

GEMM_TILES(1, 2)
GEMM_TILES(1, 3)
GEMM_TILES(1, 4)
GEMM_TILES(1, 5)
GEMM_TILES(1, 6)
GEMM_TILES(2, 1)
GEMM_TILES(2, 2)
GEMM_TILES(2, 3)
GEMM_TILES(3, 1)
GEMM_TILES(3, 2)
GEMM_TILES(4, 1)
GEMM_TILES(5, 1)
GEMM_TILES(6, 1)
static void gemm_1_1_1(const RowPanel *p, const Position *first, ptrdiff_t tiles) { gemm_single(p, first, tiles, 1); }
static void gemm_1_1_2(const RowPanel *p, const Position *first, ptrdiff_t tiles) { gemm_single(p, first, tiles, 2); }

typedef void (*GemmTile)(const RowPanel *, const Position *, ptrdiff_t);

/* Computes tiles of one size. */
static inline void gemm_tiles_of_size(
    const RowPanel *panel, const Position *position, ptrdiff_t tiles, ptrdiff_t positions) {
    static const GemmTile tile[2][GEMM_SUMS][GEMM_SUMS] = {
        {
            {gemm_1_1_1, gemm_1_2_1, gemm_1_3_1, gemm_1_4_1, gemm_1_5_1, gemm_1_6_1},
            {gemm_2_1_1, gemm_2_2_1, gemm_2_3_1},
            {gemm_3_1_1, gemm_3_2_1},
            {gemm_4_1_1},
            {gemm_5_1_1},
            {gemm_6_1_1},
        },
        {
            {gemm_1_1_2, gemm_1_2_2, gemm_1_3_2, gemm_1_4_2, gemm_1_5_2, gemm_1_6_2},
            {gemm_2_1_2, gemm_2_2_2, gemm_2_3_2},
            {gemm_3_1_2, gemm_3_2_2},
            {gemm_4_1_2},
            {gemm_5_1_2},
            {gemm_6_1_2},
        },
    };
    tile[panel->vectors - 1][panel->rows - 1][positions - 1](panel, position, tiles);
}

/* Computes a panel at all positions, in tiles of nearly equal sizes. */
static inline void gemm_tiles(const RowPanel *panel, const Position *position, ptrdiff_t positions) {
    ptrdiff_t most, tiles, size, larger, i, j;
    if (panel->term == panel->end) {
        for (i = 0; i < panel->rows; i++)
            for (j = 0; j < positions; j++)
                store_column(&panel->row[i], position + j, v_set1(0), v_set1(0), (int)panel->vectors);
        return;
    }
    if (2 * panel->rows > GEMM_SUMS) { /* asked first, since a division takes as long as a position */
        gemm_tiles_of_size(panel, position, positions, 1);
        return;
    }
    most = GEMM_SUMS / panel->rows, tiles = (positions + most - 1) / most, size = (positions + tiles - 1) / tiles;
    larger = positions - tiles * (size - 1);
    gemm_tiles_of_size(panel, position, larger, size);
    if (larger < tiles) gemm_tiles_of_size(panel, position + larger * size, tiles - larger, size - 1);
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
    static const GradientKernel tiles[GEMM_SUMS][3] = {
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
