/* The weight gradient of a matrix over samples that lie side by side: a matrix product with one term for each sample.
 *
 * dw[row_w + o] = Σ_l x[row_x + l] g[o][l]  for o < width; the gradient sum is added where it does not count as 0
 *
 * With fused SGD, dw is not written, but w -= eta dw. g is transposed: columns of two vectors of outputs, `stride`
 * apart, with two vectors for each sample l.
 *
 * Design: vectors run over outputs, the direction of the weights in memory, so that each weight is read and written
 * once, by the tile that computes its gradient; a separate update would read all of them again. Tiles hold up to six
 * rows of two vectors, as those of microkernels.h, or of one where no more outputs are left. A row's x is read in place,
 * as the broadcast factor.
 */
#ifndef CGRAPH_WEIGHT_GRADIENT_H
#define CGRAPH_WEIGHT_GRADIENT_H

#include "lanes/microkernels.h"

/* With so few outputs that most of a vector is empty, tiles that sum lane by lane (microkernels.h) take less time. */
#define FEW_OUTPUTS (V_BYTES > 32 ? 3 : 4)
/* They do with one output more for each of so many samples, since they add up their lanes only once. */
#define SAMPLES_OF_ONE_OUTPUT 32

/* Whether tiles that sum lane by lane take less time. A part of a vector of samples has sums of its own, which is worth
 * it where there are no other ones. */
static inline int sums_by_lanes(ptrdiff_t outputs, ptrdiff_t samples) {
    if (outputs >= V_LANES || (samples > V_LANES && samples % V_LANES != 0)) return 0;
    return (outputs - FEW_OUTPUTS) * SAMPLES_OF_ONE_OUTPUT < samples;
}

/* The rows of a tile; the input of row i, if it is not the last one of a tile with biases, begins at x + row_x[i]. */
typedef struct {
    const real *x, *biases; /* the input of the row of biases, if this is the last row; else NULL */
    const ptrdiff_t *row_x, *row_w;
    ptrdiff_t rows;
    const real *g;
    real *parameter_grads, *parameters;
    real eta;
    ptrdiff_t depth, width, stride;
    int accumulate, fused_sgd;
} WeightGradient;

/* Adds a vector of the gradient to the gradient sums, overwrites them with it, or updates the parameters. */
ALWAYS_INLINE void finish_vector(const WeightGradient *p, ptrdiff_t offset, vec d, int accumulate, int fused_sgd) {
    real *to = p->parameter_grads + offset;
    if (accumulate) d = v_add(v_load(to), d);
    if (fused_sgd) {
        to = p->parameters + offset;
        d = v_fma(v_set1(-p->eta), d, v_load(to));
    }
    v_store(to, d);
}

/* Finishes the first `width` elements of a vector, or all if it has no more. */
static inline void finish_part(const WeightGradient *p, ptrdiff_t offset, ptrdiff_t width, vec d) {
    real *to = p->parameter_grads + offset;
    if (width >= V_LANES) {
        finish_vector(p, offset, d, p->accumulate, p->fused_sgd);
        return;
    }
    if (p->accumulate) d = v_add(v_gather(to, 1, width), d);
    if (p->fused_sgd) {
        to = p->parameters + offset;
        d = v_fma(v_set1(-p->eta), d, v_gather(to, 1, width));
    }
    v_scatter(to, 1, width, d);
}

/* Finishes column o, in which less than two vectors are left of each row; `sums` has two vectors for each row. */
SELDOM static void finish_edge(const WeightGradient *p, ptrdiff_t o, const real *sums) {
    ptrdiff_t width = p->width - o, i;
    for (i = 0; i < p->rows; i++, sums += 2 * V_LANES) {
        finish_part(p, p->row_w[i] + o, width, v_load(sums));
        if (width > V_LANES) finish_part(p, p->row_w[i] + o + V_LANES, width - V_LANES, v_load(sums + V_LANES));
    }
}

/* Finishes whole vectors of column o. */
ALWAYS_INLINE void finish_column(
    const WeightGradient *p, ptrdiff_t o, const vec *left, const vec *right, int rows, int vectors, int accumulate,
    int fused_sgd) {
    int i;
    for (i = 0; i < rows; i++) {
        finish_vector(p, p->row_w[i] + o, left[i], accumulate, fused_sgd);
        if (vectors == 2) finish_vector(p, p->row_w[i] + o + V_LANES, right[i], accumulate, fused_sgd);
    }
}

/* Computes column o of the rows with the inputs x, with as many vectors in each row. */
ALWAYS_INLINE void weight_gradient_column(
    const WeightGradient *p, const real *const *x, ptrdiff_t o, const real *g, int rows, int vectors) {
    vec left[MAX_ROWS], right[MAX_ROWS], factor, g0, g1;
    real edge[2 * MAX_ROWS * V_COUNT];
    ptrdiff_t l = 0, depth = p->depth;
    int i;
    for (i = 0; i < rows; i++) left[i] = right[i] = v_set1(0);
    do {
        g0 = v_opaque(v_load(g));
        if (vectors == 2) {
            g1 = v_opaque(v_load(g + V_LANES));
            for (i = 0; i < rows; i++) {
                factor = v_set1(x[i][l]);
                left[i] = v_fma(factor, g0, left[i]);
                right[i] = v_fma(factor, g1, right[i]);
            }
        } else {
            for (i = 0; i < rows; i++) left[i] = v_fma(v_set1(x[i][l]), g0, left[i]);
        }
        g += 2 * V_LANES;
    } while (++l != depth);
    if (p->width - o < vectors * V_LANES) {
        for (i = 0; i < rows; i++) {
            v_store(edge + 2 * i * V_LANES, left[i]);
            if (vectors == 2) v_store(edge + (2 * i + 1) * V_LANES, right[i]);
        }
        finish_edge(p, o, edge);
    } else if (p->fused_sgd && p->accumulate)
        finish_column(p, o, left, right, rows, vectors, 1, 1);
    else if (p->fused_sgd)
        finish_column(p, o, left, right, rows, vectors, 0, 1);
    else if (p->accumulate)
        finish_column(p, o, left, right, rows, vectors, 1, 0);
    else
        finish_column(p, o, left, right, rows, vectors, 0, 0);
}

/* Computes `rows` rows, column after column. */
ALWAYS_INLINE void weight_gradient_tile(const WeightGradient *p, int rows) {
    const real *x[MAX_ROWS], *g = p->g;
    ptrdiff_t o;
    int i;
    for (i = 0; i < rows; i++) x[i] = p->x + p->row_x[i];
    if (p->biases) x[rows - 1] = p->biases;
    for (o = 0; p->width - o > V_LANES; o += 2 * V_LANES, g += p->stride) weight_gradient_column(p, x, o, g, rows, 2);
    if (o < p->width) weight_gradient_column(p, x, o, g, rows, 1);
}

static void weight_gradient_1(const WeightGradient *p) { weight_gradient_tile(p, 1); }
static void weight_gradient_2(const WeightGradient *p) { weight_gradient_tile(p, 2); }
static void weight_gradient_3(const WeightGradient *p) { weight_gradient_tile(p, 3); }
static void weight_gradient_4(const WeightGradient *p) { weight_gradient_tile(p, 4); }
static void weight_gradient_5(const WeightGradient *p) { weight_gradient_tile(p, 5); }
static void weight_gradient_6(const WeightGradient *p) { weight_gradient_tile(p, 6); }

/* Computes the gradients of a tile of rows. */
static inline void weight_gradient_rows(const WeightGradient *p) {
    static void (*const tile[MAX_ROWS])(const WeightGradient *) = {
        weight_gradient_1, weight_gradient_2, weight_gradient_3,
        weight_gradient_4, weight_gradient_5, weight_gradient_6,
    };
    tile[p->rows - 1](p);
}

#endif
