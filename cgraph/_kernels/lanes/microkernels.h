/* Register tiles over samples that lie side by side: twelve vectors of sums, or nearly so, which is what the latency of
 * two FMAs a cycle asks for and what 16 registers hold.
 *
 * In C, since each size must become a function of its own, with all loops unrolled: gcc shares functions of several sizes,
 * whose sums then lie in memory, unless it is made to copy the body. A *column* is two vectors of samples.
 */
#ifndef CGRAPH_MICROKERNELS_H
#define CGRAPH_MICROKERNELS_H

#include "common/simd.h"

#ifdef __GNUC__
#define COPIED static inline __attribute__((always_inline))
#else
#define COPIED static inline
#endif

#define SUMS 6     /* rows * spots of a tile of sums */
#define AHEAD 128  /* bytes */
#define GRADIENTS 12  /* taps * outputs of a tile of slopes */

typedef struct {
    ptrdiff_t w, x;
} Term;

typedef struct {
    ptrdiff_t x, to;
} Position;

/* Sums of products of weights and columns
 *
 * to_i[spot] = start_i + Σ_t w_i[t.w] x[t.x + spot.x]   or, where a row adds, to_i[spot] += …
 */

typedef struct {
    const real *w;
    real *to;
    real start;
    int accumulate;
} Row;

/* The rows of one tile, and their terms. */
typedef struct {
    Row row[SUMS];
    ptrdiff_t rows;
    const real *x;
    const Term *term, *end;
} RowPanel;

/* One column of a row's sum. */
COPIED void finish(const Row *row, const Position *position, vec left, vec right) {
    real *to = row->to + position->to;
    vec start = v_set1(row->start);
    v_store(to, v_add(row->accumulate ? v_load(to) : start, left));
    v_store(to + V_LANES, v_add(row->accumulate ? v_load(to + V_LANES) : start, right));
}

/* Tiles of rows * spots, again and again; a strip has a term. What all rows or all spots share is read once: the fewer. */
COPIED void sum_tiles(const RowPanel *panel, const Position *position, ptrdiff_t tiles, int rows, int positions) {
    const real *w[SUMS], *x[SUMS];
    vec left[SUMS], right[SUMS], factor[SUMS], x0, x1;
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
                x1 = v_opaque(v_load(x[0] + term->x + V_LANES));
                for (i = 0; i < rows; i++) {
                    factor[0] = v_set1(w[i][term->w]);
                    left[i] = v_fma(factor[0], x0, left[i]);
                    right[i] = v_fma(factor[0], x1, right[i]);
                }
            } else {
                for (i = 0; i < rows; i++) factor[i] = v_opaque(v_set1(w[i][term->w]));
                for (j = 0; j < positions; j++) {
                    x0 = v_load(x[j] + term->x);
                    if (rows > 1) x0 = v_opaque(x0);
                    for (i = 0; i < rows; i++) left[i * positions + j] = v_fma(factor[i], x0, left[i * positions + j]);
                    x1 = v_load(x[j] + term->x + V_LANES);
                    if (rows > 1) x1 = v_opaque(x1);
                    for (i = 0; i < rows; i++) right[i * positions + j] = v_fma(factor[i], x1, right[i * positions + j]);
                }
            }
        } while (++term != end);
        for (i = 0; i < rows; i++)
            for (j = 0; j < positions; j++)
                finish(&panel->row[i], position + j, left[i * positions + j], right[i * positions + j]);
    }
}

/* One row and one spot: six sums of every sixth term, since each FMA waits for the one before it. */
static void sums_1_1(const RowPanel *panel, const Position *position, ptrdiff_t tiles) {
    const real *w = panel->row[0].w, *x;
    vec left[SUMS], right[SUMS], factor;
    const Term *term;
    int i;
    for (; tiles > 0; tiles--, position++) {
        x = panel->x + position->x;
        for (i = 0; i < SUMS; i++) left[i] = right[i] = v_set1(0);
        for (term = panel->term; term + SUMS <= panel->end; term += SUMS)
            for (i = 0; i < SUMS; i++) {
                factor = v_set1(w[term[i].w]);
                left[i] = v_fma(factor, v_load(x + term[i].x), left[i]);
                right[i] = v_fma(factor, v_load(x + term[i].x + V_LANES), right[i]);
            }
        for (; term < panel->end; term++) {
            factor = v_set1(w[term->w]);
            left[0] = v_fma(factor, v_load(x + term->x), left[0]);
            right[0] = v_fma(factor, v_load(x + term->x + V_LANES), right[0]);
        }
        for (i = 1; i < SUMS; i++) {
            left[0] = v_add(left[0], left[i]);
            right[0] = v_add(right[0], right[i]);
        }
        finish(&panel->row[0], position, left[0], right[0]);
    }
}

static void sums_1_2(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 1, 2); }
static void sums_1_3(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 1, 3); }
static void sums_1_4(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 1, 4); }
static void sums_1_5(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 1, 5); }
static void sums_1_6(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 1, 6); }
static void sums_2_1(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 2, 1); }
static void sums_2_2(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 2, 2); }
static void sums_2_3(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 2, 3); }
static void sums_3_1(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 3, 1); }
static void sums_3_2(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 3, 2); }
static void sums_4_1(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 4, 1); }
static void sums_5_1(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 5, 1); }
static void sums_6_1(const RowPanel *s, const Position *position, ptrdiff_t tiles) { sum_tiles(s, position, tiles, 6, 1); }

typedef void (*SumTiles)(const RowPanel *, const Position *, ptrdiff_t);

/* Tiles of this size. */
static inline void some_sums(const RowPanel *panel, const Position *position, ptrdiff_t tiles, ptrdiff_t positions) {
    static const SumTiles sums[SUMS][SUMS] = {
        {sums_1_1, sums_1_2, sums_1_3, sums_1_4, sums_1_5, sums_1_6},
        {sums_2_1, sums_2_2, sums_2_3},
        {sums_3_1, sums_3_2},
        {sums_4_1},
        {sums_5_1},
        {sums_6_1},
    };
    sums[panel->rows - 1][positions - 1](panel, position, tiles);
}

/* A strip, in tiles of sizes as equal as can be. */
static inline void all_sums(const RowPanel *panel, const Position *position, ptrdiff_t positions) {
    ptrdiff_t most, tiles, size, larger, i, j;
    if (panel->term == panel->end) {
        for (i = 0; i < panel->rows; i++)
            for (j = 0; j < positions; j++) finish(&panel->row[i], position + j, v_set1(0), v_set1(0));
        return;
    }
    if (2 * panel->rows > SUMS) { /* before any division: that takes as long as a spot */
        some_sums(panel, position, positions, 1);
        return;
    }
    most = SUMS / panel->rows, tiles = (positions + most - 1) / most, size = (positions + tiles - 1) / tiles;
    larger = positions - tiles * (size - 1);
    some_sums(panel, position, larger, size);
    if (larger < tiles) some_sums(panel, position + larger * size, tiles - larger, size - 1);
}

/* Brings the weights near that the strips behind this one will read: of rows that lie pages apart, no processor guesses. */
static inline void fetch_ahead(const RowPanel *panel) {
#ifdef __GNUC__
    const Term *term;
    for (term = panel->term; term != panel->end; term++)
        __builtin_prefetch((const char *)(panel->row[0].w + term->w) + AHEAD, 0, 2);
#else
    (void)panel;
#endif
}

/* Slopes: sums over spots of products of two vectors, sample by sample
 *
 * total[t][o] += Σ_spot x[under_t + spot.x] g[out_o + spot.to]
 */

typedef struct {
    const real *x, *g;
    const ptrdiff_t *tap_offsets; /* of each tap */
    const Term *grad_offsets;        /* of each output: .x */
    const Position *position, *end;
    ptrdiff_t vectors; /* of samples */
    real *total;
    ptrdiff_t pitch;
} GradientTile;

/* A tile of taps * outs; there is a spot, and a vector. */
COPIED void gradient_tile(const GradientTile *p, int taps, int outs) {
    const real *x[GRADIENTS], *g[GRADIENTS];
    vec total[GRADIENTS], kept[GRADIENTS], v;
    const Position *position, *end = p->end;
    real *to = p->total;
    ptrdiff_t vectors = p->vectors, pitch = p->pitch;
    int t, o;
    for (t = 0; t < taps; t++) x[t] = p->x + p->tap_offsets[t];
    for (o = 0; o < outs; o++) g[o] = p->g + p->grad_offsets[o].x;
    for (t = 0; t < taps * outs; t++) total[t] = v_set1(0);
    do {
        position = p->position;
        do {
            if (taps <= outs) {
                for (t = 0; t < taps; t++) kept[t] = v_opaque(v_load(x[t] + position->x));
                for (o = 0; o < outs; o++) {
                    v = v_load(g[o] + position->to);
                    if (taps > 1) v = v_opaque(v);
                    for (t = 0; t < taps; t++) total[t * outs + o] = v_fma(kept[t], v, total[t * outs + o]);
                }
            } else {
                for (o = 0; o < outs; o++) kept[o] = v_opaque(v_load(g[o] + position->to));
                for (t = 0; t < taps; t++) {
                    v = v_load(x[t] + position->x);
                    if (outs > 1) v = v_opaque(v);
                    for (o = 0; o < outs; o++) total[t * outs + o] = v_fma(v, kept[o], total[t * outs + o]);
                }
            }
        } while (++position != end);
        for (t = 0; t < taps; t++) x[t] += V_LANES;
        for (o = 0; o < outs; o++) g[o] += V_LANES;
    } while (--vectors > 0);
    for (t = 0; t < taps; t++)
        for (o = 0; o < outs; o++) v_store(to + t * pitch + o * V_LANES, v_add(v_load(to + t * pitch + o * V_LANES), total[t * outs + o]));
}

static void weight_gradients_8_1(const GradientTile *p) { gradient_tile(p, 8, 1); }
static void weight_gradients_4_1(const GradientTile *p) { gradient_tile(p, 4, 1); }
static void weight_gradients_1_1(const GradientTile *p) { gradient_tile(p, 1, 1); }
static void weight_gradients_6_2(const GradientTile *p) { gradient_tile(p, 6, 2); }
static void weight_gradients_3_2(const GradientTile *p) { gradient_tile(p, 3, 2); }
static void weight_gradients_1_2(const GradientTile *p) { gradient_tile(p, 1, 2); }
static void weight_gradients_4_3(const GradientTile *p) { gradient_tile(p, 4, 3); }
static void weight_gradients_2_3(const GradientTile *p) { gradient_tile(p, 2, 3); }
static void weight_gradients_1_3(const GradientTile *p) { gradient_tile(p, 1, 3); }
static void weight_gradients_3_4(const GradientTile *p) { gradient_tile(p, 3, 4); }
static void weight_gradients_2_4(const GradientTile *p) { gradient_tile(p, 2, 4); }
static void weight_gradients_1_4(const GradientTile *p) { gradient_tile(p, 1, 4); }
static void weight_gradients_2_5(const GradientTile *p) { gradient_tile(p, 2, 5); }
static void weight_gradients_1_5(const GradientTile *p) { gradient_tile(p, 1, 5); }
static void weight_gradients_2_6(const GradientTile *p) { gradient_tile(p, 2, 6); }
static void weight_gradients_1_6(const GradientTile *p) { gradient_tile(p, 1, 6); }

typedef struct {
    ptrdiff_t taps;
    void (*tile)(const GradientTile *);
} SlopeTile;

/* The first of so many taps; returns how many they are. */
static inline ptrdiff_t some_weight_gradients(const GradientTile *p, ptrdiff_t taps, ptrdiff_t outs) {
    static const SlopeTile tiles[SUMS][3] = {
        {{8, weight_gradients_8_1}, {4, weight_gradients_4_1}, {1, weight_gradients_1_1}},
        {{6, weight_gradients_6_2}, {3, weight_gradients_3_2}, {1, weight_gradients_1_2}},
        {{4, weight_gradients_4_3}, {2, weight_gradients_2_3}, {1, weight_gradients_1_3}},
        {{3, weight_gradients_3_4}, {2, weight_gradients_2_4}, {1, weight_gradients_1_4}},
        {{2, weight_gradients_2_5}, {1, weight_gradients_1_5}},
        {{2, weight_gradients_2_6}, {1, weight_gradients_1_6}},
    };
    const SlopeTile *tile = tiles[outs - 1];
    /* Of four taps two and two, rather than three and one. */
    if (outs == 4 && taps == 4) tile++;
    while (tile->taps > taps) tile++;
    tile->tile(p);
    return tile->taps;
}

#endif
