/* Register tiles of a matrix product whose left factor is read in place, element by element.
 *
 * c[c_offsets[i] + o] += Σ_t a[row_offsets[i] + term_offsets[t]] b[t pitch + o]   for i < rows, o < width, t < depth
 *
 * Design: a tile keeps its sums in registers while it runs over the terms, since each load of b then serves all of its
 * rows, and each element of a serves all of its vectors. Twelve sums are as many as 16 registers hold beside the factors,
 * and enough to hide the latency of two multiply-adds a cycle; where there are 32 registers, tiles of 16 or 24 sums are
 * slower, since the addresses of their rows leave the general registers (measured on Zen 5). There is a tile for each
 * number of rows, as a function of its own with all loops unrolled, so that the rows of a product are shared out among
 * tiles of nearly equal heights. Every tile adds the terms of a sum in their order, one by one: equal windows have equal
 * sums, and max pooling finds ties among them.
 */
#ifndef CGRAPH_TILES_H
#define CGRAPH_TILES_H

#include "common/simd.h"

#define WIDE_ROWS 6 /* the most rows of a tile of two vectors */
#define TALL_ROWS 8 /* the most rows of a tile of one vector */
#define MOST_SUMS 12
#define CACHE_LINE_BYTES 64 /* or half a line, which is then prefetched twice */
#define SINGLE_SUMS 4 /* running sums of a row that is summed alone */

/* Rows of memory that are soon read. Each tile prefetches `rows_per_tile` of them: all at once would keep it waiting. */
typedef struct {
    const real *row;
    ptrdiff_t pitch, width, rows, rows_per_tile;
} Prefetch;

static inline void prefetch_rows(Prefetch *prefetch) {
#ifdef __GNUC__
    ptrdiff_t last = prefetch->rows - prefetch->rows_per_tile, o;
    if (last < 0) last = 0;
    for (; prefetch->rows > last; prefetch->rows--, prefetch->row += prefetch->pitch)
        for (o = 0; o < prefetch->width; o += CACHE_LINE_BYTES / R_BYTES) __builtin_prefetch(prefetch->row + o, 0, 2);
#else
    (void)prefetch;
#endif
}

/* A block of terms of a product, in one or two vectors of columns. */
typedef struct {
    const real *a;
    const ptrdiff_t *term_offsets;
    const real *b;
    ptrdiff_t pitch, depth; /* depth: at least 1 */
    const real *start; /* NULL to add to c; else c is overwritten by whole vectors, and each row begins with these values */
    ptrdiff_t width;   /* the columns whose sums count; zeros are added to c up to a whole vector */
    Prefetch *prefetch;
} Panel;

/* Clears the lanes of a tile's last vectors that lie behind the columns: zeros are added to what lies there. */
ALWAYS_INLINE void clear_behind(const Panel *panel, vec *sums, int rows, int vectors) {
    ptrdiff_t count = panel->width - (vectors - 1) * V_LANES;
    int i;
    if (count < V_LANES)
        UNROLLED for (i = 0; i < rows; i++)
            sums[i * vectors + vectors - 1] = v_first(sums[i * vectors + vectors - 1], count);
}

/* Writes the sums of a row, or adds them. */
ALWAYS_INLINE void finish_row(const Panel *panel, const vec *sums, real *c, int vectors) {
    const real *before = panel->start ? panel->start : c;
    v_store(c, v_add(v_load(before), sums[0]));
    if (vectors == 2) v_store(c + V_LANES, v_add(v_load(before + V_LANES), sums[1]));
}

/* Computes `tiles` tiles of rows * vectors. */
ALWAYS_INLINE void compute_tiles(
    const Panel *panel, const ptrdiff_t *row_offsets, real *c, const ptrdiff_t *c_offsets, ptrdiff_t tiles, int rows,
    int vectors) {
    vec sums[MOST_SUMS], x, b0, b1 = v_set1(0);
    const real *a[TALL_ROWS], *b;
    const ptrdiff_t *term, *end = panel->term_offsets + panel->depth;
    ptrdiff_t pitch = panel->pitch;
    int i;
    for (; tiles > 0; tiles--, row_offsets += rows, c_offsets += rows) {
        prefetch_rows(panel->prefetch);
        UNROLLED for (i = 0; i < rows; i++) a[i] = panel->a + row_offsets[i];
        UNROLLED for (i = 0; i < rows * vectors; i++) sums[i] = v_opaque(v_set1(0)); /* else gcc clears them in memory */
        b = panel->b;
        term = panel->term_offsets;
        do { /* a loop that might not run at all would keep the sums in memory */
            b0 = v_opaque(v_load(b));
            if (vectors == 2) b1 = v_opaque(v_load(b + V_LANES));
            UNROLLED for (i = 0; i < rows; i++) {
                x = v_set1(a[i][*term]);
                sums[i * vectors] = v_fma(x, b0, sums[i * vectors]);
                if (vectors == 2) sums[i * vectors + 1] = v_fma(x, b1, sums[i * vectors + 1]);
            }
            b += pitch;
        } while (++term != end);
        clear_behind(panel, sums, rows, vectors);
        UNROLLED for (i = 0; i < rows; i++) finish_row(panel, &sums[i * vectors], c + c_offsets[i], vectors);
    }
}

/* Computes rows one by one, each as SINGLE_SUMS sums of every fourth term: a tile of few rows would wait for each FMA. */
ALWAYS_INLINE void sum_single_rows(
    const Panel *panel, const ptrdiff_t *row_offsets, real *c, const ptrdiff_t *c_offsets, ptrdiff_t rows,
    int vectors) {
    vec sums[2 * SINGLE_SUMS], x;
    const real *a, *b;
    const ptrdiff_t *term, *end = panel->term_offsets + panel->depth;
    ptrdiff_t pitch = panel->pitch, row;
    int i;
    for (row = 0; row < rows; row++) {
        a = panel->a + row_offsets[row];
        b = panel->b;
        UNROLLED for (i = 0; i < SINGLE_SUMS * vectors; i++) sums[i] = v_set1(0);
        for (term = panel->term_offsets; end - term >= SINGLE_SUMS; term += SINGLE_SUMS, b += SINGLE_SUMS * pitch)
            UNROLLED for (i = 0; i < SINGLE_SUMS; i++) {
                x = v_set1(a[term[i]]);
                sums[i] = v_fma(x, v_load(b + i * pitch), sums[i]);
                if (vectors == 2) sums[SINGLE_SUMS + i] = v_fma(x, v_load(b + i * pitch + V_LANES), sums[SINGLE_SUMS + i]);
            }
        for (; term < end; term++, b += pitch) {
            x = v_set1(a[*term]);
            sums[0] = v_fma(x, v_load(b), sums[0]);
            if (vectors == 2) sums[SINGLE_SUMS] = v_fma(x, v_load(b + V_LANES), sums[SINGLE_SUMS]);
        }
        UNROLLED for (i = 1; i < SINGLE_SUMS; i++) {
            sums[0] = v_add(sums[0], sums[i]);
            if (vectors == 2) sums[SINGLE_SUMS] = v_add(sums[SINGLE_SUMS], sums[SINGLE_SUMS + i]);
        }
        sums[1] = sums[SINGLE_SUMS];
        clear_behind(panel, sums, 1, vectors);
        finish_row(panel, sums, c + c_offsets[row], vectors);
    }
}

static void sum_rows(
    const Panel *panel, const ptrdiff_t *row_offsets, real *c, const ptrdiff_t *c_offsets, ptrdiff_t rows) {
    if (panel->width > V_LANES)
        sum_single_rows(panel, row_offsets, c, c_offsets, rows, 2);
    else
        sum_single_rows(panel, row_offsets, c, c_offsets, rows, 1);
}

typedef void (*TileKernel)(const Panel *, const ptrdiff_t *, real *, const ptrdiff_t *, ptrdiff_t);

#define TILES(rows, vectors)                                                                                       \
    static void tiles_##rows##_##vectors(                                                                          \
        const Panel *panel, const ptrdiff_t *row_offsets, real *c, const ptrdiff_t *c_offsets, ptrdiff_t tiles) {  \
        compute_tiles(panel, row_offsets, c, c_offsets, tiles, rows, vectors);                                     \
    }
TILES(1, 1)
TILES(2, 1)
TILES(3, 1)
TILES(4, 1)
TILES(5, 1)
TILES(6, 1)
TILES(7, 1)
TILES(8, 1)
TILES(1, 2)
TILES(2, 2)
TILES(3, 2)
TILES(4, 2)
TILES(5, 2)
TILES(6, 2)

/* Computes rows of a panel, at least one, in tiles of nearly equal heights. */
static inline void compute_rows(
    const Panel *panel, const ptrdiff_t *row_offsets, real *c, const ptrdiff_t *c_offsets, ptrdiff_t rows) {
    static const TileKernel tall[] = {
        tiles_1_1, tiles_2_1, tiles_3_1, tiles_4_1, tiles_5_1, tiles_6_1, tiles_7_1, tiles_8_1,
    };
    static const TileKernel wide[] = {
        tiles_1_2, tiles_2_2, tiles_3_2, tiles_4_2, tiles_5_2, tiles_6_2,
    };
    const TileKernel *tile = panel->width > V_LANES ? wide : tall;
    ptrdiff_t most = panel->width > V_LANES ? WIDE_ROWS : TALL_ROWS;
    ptrdiff_t tiles = (rows + most - 1) / most, height, higher;
    height = rows / tiles, higher = rows - tiles * height;
    if (higher > 0) tile[height](panel, row_offsets, c, c_offsets, higher);
    row_offsets += higher * (height + 1), c_offsets += higher * (height + 1);
    tile[height - 1](panel, row_offsets, c, c_offsets, tiles - higher);
}

#endif
