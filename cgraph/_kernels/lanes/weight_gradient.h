/* Products of two matrices of which the first is read in place, as many terms as there are samples: the weight gradient
 * of a matrix over samples that lie side by side. Register tiles as those of lane_tile.h.
 *
 * d[row.w + o] = Σ_l x[row.x + l] g[o][l]   for o < width, and what `sums` holds, where it adds
 *
 * into sums; or where it learns, into nothing: values -= eta d. g: columns of two vectors, `step` apart; two vectors for
 * each l.
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

COPIED void finish_vector(const WeightGradient *p, ptrdiff_t at, vec d, int accumulate, int fused_sgd) {
    real *to = p->parameter_grads + at;
    if (accumulate) d = v_add(v_load(to), d);
    if (fused_sgd) {
        to = p->parameters + at;
        d = v_fma(v_set1(-p->eta), d, v_load(to));
    }
    v_store(to, d);
}

/* The part of a vector that a row has. */
SELDOM static void finish_part(const WeightGradient *p, ptrdiff_t at, ptrdiff_t width, vec d) {
    real *to = p->parameter_grads + at;
    if (p->accumulate) d = v_add(v_gather(to, 1, width), d);
    if (p->fused_sgd) {
        to = p->parameters + at;
        d = v_fma(v_set1(-p->eta), d, v_gather(to, 1, width));
    }
    v_scatter(to, 1, width, d);
}

/* The same of one vector and of a part of the next, or of a part of the first. */
static inline void finish_edge(const WeightGradient *p, ptrdiff_t at, ptrdiff_t width, vec left, vec right) {
    if (width < V_LANES) {
        finish_part(p, at, width, left);
        return;
    }
    finish_vector(p, at, left, p->accumulate, p->fused_sgd);
    if (width > V_LANES) finish_part(p, at + V_LANES, width - V_LANES, right);
}

/* Column o of each row. */
COPIED void finish_rows(
    const WeightGradient *p, const Term *row, ptrdiff_t o, const vec *left, const vec *right, int rows, int accumulate, int fused_sgd) {
    int i;
    for (i = 0; i < rows; i++) {
        finish_vector(p, row[i].w + o, left[i], accumulate, fused_sgd);
        finish_vector(p, row[i].w + o + V_LANES, right[i], accumulate, fused_sgd);
    }
}

/* So many rows, column after column. */
COPIED void product_tile(const WeightGradient *p, const Term *row, int rows) {
    const real *x[SUMS], *g, *block = p->g;
    vec left[SUMS], right[SUMS], factor, g0, g1;
    ptrdiff_t depth = p->depth, o, l;
    int i;
    for (i = 0; i < rows; i++) x[i] = p->x + row[i].x;
    for (o = 0; o < p->width; o += 2 * V_LANES, block += p->stride) {
        g = block;
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

static void product_1(const WeightGradient *p, const Term *row) { product_tile(p, row, 1); }
static void product_2(const WeightGradient *p, const Term *row) { product_tile(p, row, 2); }
static void product_3(const WeightGradient *p, const Term *row) { product_tile(p, row, 3); }
static void product_4(const WeightGradient *p, const Term *row) { product_tile(p, row, 4); }
static void product_5(const WeightGradient *p, const Term *row) { product_tile(p, row, 5); }
static void product_6(const WeightGradient *p, const Term *row) { product_tile(p, row, 6); }

static inline void weight_gradient_rows(const WeightGradient *p, const Term *row, ptrdiff_t rows) {
    static void (*const tile[SUMS])(const WeightGradient *, const Term *) = {
        product_1, product_2, product_3, product_4, product_5, product_6,
    };
    tile[rows - 1](p, row);
}

#endif
