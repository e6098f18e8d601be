/* The weight gradient of a matrix over samples that lie side by side: a matrix product with one term for each sample.
 *
 * dw[row.w + o] = Σ_l x[row.x + l] g[o][l]   for o < width; the gradient sum is added where it does not count as 0
 *
 * With fused SGD, dw is not written, but w -= eta dw. g is transposed: columns of two vectors of outputs, `stride`
 * apart, with two vectors for each sample l.
 *
 * Design: vectors run over outputs, the direction of the weights in memory, so that each weight is read and written
 * once, by the tile that computes its gradient; a separate update would read all of them again. Tiles hold up to six
 * rows of two vectors, as those of microkernels.h. A row's x is read in place, as the broadcast factor.
 */
#ifndef CGRAPH_WEIGHT_GRADIENT_H
#define CGRAPH_WEIGHT_GRADIENT_H

#include "lanes/microkernels.h"

typedef struct {
    const real *x, *g;
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

/* Finishes the first `width` elements of a vector, the last ones of a row. */
SELDOM static void finish_part(const WeightGradient *p, ptrdiff_t offset, ptrdiff_t width, vec d) {
    real *to = p->parameter_grads + offset;
    if (p->accumulate) d = v_add(v_gather(to, 1, width), d);
    if (p->fused_sgd) {
        to = p->parameters + offset;
        d = v_fma(v_set1(-p->eta), d, v_gather(to, 1, width));
    }
    v_scatter(to, 1, width, d);
}

/* Finishes the last `width` elements of a row, less than two vectors. */
static inline void finish_edge(const WeightGradient *p, ptrdiff_t offset, ptrdiff_t width, vec left, vec right) {
    if (width < V_LANES) {
        finish_part(p, offset, width, left);
        return;
    }
    finish_vector(p, offset, left, p->accumulate, p->fused_sgd);
    if (width > V_LANES) finish_part(p, offset + V_LANES, width - V_LANES, right);
}

/* Finishes column o of each row. */
ALWAYS_INLINE void finish_rows(
    const WeightGradient *p, const Term *row, ptrdiff_t o, const vec *left, const vec *right, int rows, int accumulate,
    int fused_sgd) {
    int i;
    for (i = 0; i < rows; i++) {
        finish_vector(p, row[i].w + o, left[i], accumulate, fused_sgd);
        finish_vector(p, row[i].w + o + V_LANES, right[i], accumulate, fused_sgd);
    }
}

/* Computes `rows` rows, column after column. */
ALWAYS_INLINE void weight_gradient_tile(const WeightGradient *p, const Term *row, int rows) {
    const real *x[GEMM_SUMS], *g, *column = p->g;
    vec left[GEMM_SUMS], right[GEMM_SUMS], factor, g0, g1;
    ptrdiff_t depth = p->depth, o, l;
    int i;
    for (i = 0; i < rows; i++) x[i] = p->x + row[i].x;
    for (o = 0; o < p->width; o += 2 * V_LANES, column += p->stride) {
        g = column;
        for (i = 0; i < rows; i++) left[i] = right[i] = v_set1(0);
        l = 0;
        do {
            g0 = v_opaque(v_load(g));
            g1 = v_opaque(v_load(g + V_LANES));
            for (i = 0; i < rows; i++) {
                factor = v_set1(x[i][l]);
                left[i] = v_fma(factor, g0, left[i]);
                right[i] = v_fma(factor, g1, right[i]);
            }
            g += 2 * V_LANES;
        } while (++l != depth);
        if (p->width - o < 2 * V_LANES)
            for (i = 0; i < rows; i++) finish_edge(p, row[i].w + o, p->width - o, left[i], right[i]);
        else if (p->fused_sgd && p->accumulate)
            finish_rows(p, row, o, left, right, rows, 1, 1);
        else if (p->fused_sgd)
            finish_rows(p, row, o, left, right, rows, 0, 1);
        else if (p->accumulate)
            finish_rows(p, row, o, left, right, rows, 1, 0);
        else
            finish_rows(p, row, o, left, right, rows, 0, 0);
    }
}

static void weight_gradient_1(const WeightGradient *p, const Term *row) { weight_gradient_tile(p, row, 1); }
static void weight_gradient_2(const WeightGradient *p, const Term *row) { weight_gradient_tile(p, row, 2); }
static void weight_gradient_3(const WeightGradient *p, const Term *row) { weight_gradient_tile(p, row, 3); }
static void weight_gradient_4(const WeightGradient *p, const Term *row) { weight_gradient_tile(p, row, 4); }
static void weight_gradient_5(const WeightGradient *p, const Term *row) { weight_gradient_tile(p, row, 5); }
static void weight_gradient_6(const WeightGradient *p, const Term *row) { weight_gradient_tile(p, row, 6); }

/* Computes the gradients of up to six rows of weights. */
static inline void weight_gradient_rows(const WeightGradient *p, const Term *row, ptrdiff_t rows) {
    static void (*const tile[GEMM_SUMS])(const WeightGradient *, const Term *) = {
        weight_gradient_1, weight_gradient_2, weight_gradient_3,
        weight_gradient_4, weight_gradient_5, weight_gradient_6,
    };
    tile[rows - 1](p, row);
}

#endif
