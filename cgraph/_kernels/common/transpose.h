/* Transposes squares of V_LANES rows in registers. simd.h includes this file, where it has vectors of several elements.
 *
 * A vector has *parts* of 16 bytes. First the elements of PART rows are exchanged within parts, which is cheap in all
 * instruction sets, and then whole parts among the rows.
 */
#ifndef CGRAPH_TRANSPOSE_H
#define CGRAPH_TRANSPOSE_H

#define PART (16 / R_BYTES)     /* the elements of a part */
#define PARTS (V_COUNT / PART)  /* the parts of a vector */

/* The elements of one part of the result of a shuffle of a and b, whose elements have numbers from V_COUNT on; i: the
 * first element of the part. ZIPPED: a b a b; PAIRS: a a b b; COPIED: those from i on. */
#if PART == 4
#define ZIPPED_LOW(i) i, V_COUNT + i, i + 1, V_COUNT + i + 1
#define ZIPPED_HIGH(i) i + 2, V_COUNT + i + 2, i + 3, V_COUNT + i + 3
#define PAIRS_LOW(i) i, i + 1, V_COUNT + i, V_COUNT + i + 1
#define PAIRS_HIGH(i) i + 2, i + 3, V_COUNT + i + 2, V_COUNT + i + 3
#define COPIED(i) i, i + 1, i + 2, i + 3
#else
#define ZIPPED_LOW(i) i, V_COUNT + i
#define ZIPPED_HIGH(i) i + 1, V_COUNT + i + 1
#define COPIED(i) i, i + 1
#endif

/* The shuffles of all parts, and those that take the parts of even or of odd number from a and then from b. */
#if PARTS == 4
#define EACH_PART(elements) elements(0), elements(PART), elements(2 * PART), elements(3 * PART)
#define EVEN_PARTS COPIED(0), COPIED(2 * PART), COPIED(4 * PART), COPIED(6 * PART)
#define ODD_PARTS COPIED(PART), COPIED(3 * PART), COPIED(5 * PART), COPIED(7 * PART)
#elif PARTS == 2
#define EACH_PART(elements) elements(0), elements(PART)
#define EVEN_PARTS COPIED(0), COPIED(2 * PART)
#define ODD_PARTS COPIED(PART), COPIED(3 * PART)
#else
#define EACH_PART(elements) elements(0)
#endif

/* Transposes the squares of PART rows within each part. */
static inline void v_transpose_parts(vec *row) {
    ptrdiff_t i;
    for (i = 0; i < V_LANES; i += PART) {
        vec low = V_SHUFFLE(row[i], row[i + 1], EACH_PART(ZIPPED_LOW));
        vec high = V_SHUFFLE(row[i], row[i + 1], EACH_PART(ZIPPED_HIGH));
#if PART == 4
        vec next_low = V_SHUFFLE(row[i + 2], row[i + 3], EACH_PART(ZIPPED_LOW));
        vec next_high = V_SHUFFLE(row[i + 2], row[i + 3], EACH_PART(ZIPPED_HIGH));
        row[i] = V_SHUFFLE(low, next_low, EACH_PART(PAIRS_LOW));
        row[i + 1] = V_SHUFFLE(low, next_low, EACH_PART(PAIRS_HIGH));
        row[i + 2] = V_SHUFFLE(high, next_high, EACH_PART(PAIRS_LOW));
        row[i + 3] = V_SHUFFLE(high, next_high, EACH_PART(PAIRS_HIGH));
#else
        row[i] = low;
        row[i + 1] = high;
#endif
    }
}

/* Transposes the squares of PARTS parts in rows that lie PART apart. */
static inline void v_exchange_parts(vec *row) {
    ptrdiff_t i;
    for (i = 0; i < PART; i++) {
#if PARTS == 4
        vec even = V_SHUFFLE(row[i], row[PART + i], EVEN_PARTS), odd = V_SHUFFLE(row[i], row[PART + i], ODD_PARTS);
        vec next_even = V_SHUFFLE(row[2 * PART + i], row[3 * PART + i], EVEN_PARTS);
        vec next_odd = V_SHUFFLE(row[2 * PART + i], row[3 * PART + i], ODD_PARTS);
        row[i] = V_SHUFFLE(even, next_even, EVEN_PARTS);
        row[PART + i] = V_SHUFFLE(odd, next_odd, EVEN_PARTS);
        row[2 * PART + i] = V_SHUFFLE(even, next_even, ODD_PARTS);
        row[3 * PART + i] = V_SHUFFLE(odd, next_odd, ODD_PARTS);
#elif PARTS == 2
        vec even = V_SHUFFLE(row[i], row[PART + i], EVEN_PARTS), odd = V_SHUFFLE(row[i], row[PART + i], ODD_PARTS);
        row[i] = even;
        row[PART + i] = odd;
#endif
    }
}

/* Transposes a square of V_LANES rows: from rows x_stride apart to rows t_stride apart. */
static inline void v_transpose(const real *x, ptrdiff_t x_stride, real *t, ptrdiff_t t_stride) {
    vec row[V_LANES];
    ptrdiff_t i;
    for (i = 0; i < V_LANES; i++) row[i] = v_load(x + i * x_stride);
    v_transpose_parts(row);
    v_exchange_parts(row);
    for (i = 0; i < V_LANES; i++) v_store(t + i * t_stride, row[i]);
}

/* Transposes the first `rows` rows of a square, as v_transpose does, and writes the first `t_rows` rows of the result in
 * their order, as whole vectors, with zeros behind the first `rows` lanes. */
static inline void v_transpose_part(
    const real *x, ptrdiff_t x_stride, ptrdiff_t rows, real *t, ptrdiff_t t_stride, ptrdiff_t t_rows) {
    vec row[V_LANES];
    ptrdiff_t i;
    for (i = 0; i < V_LANES; i++) row[i] = i < rows ? v_load(x + i * x_stride) : v_set1(0);
    v_transpose_parts(row);
    v_exchange_parts(row);
    for (i = 0; i < V_LANES && i < t_rows; i++) v_store(t + i * t_stride, row[i]);
}

#undef PART
#undef PARTS
#undef ZIPPED_LOW
#undef ZIPPED_HIGH
#undef PAIRS_LOW
#undef PAIRS_HIGH
#undef COPIED
#undef EACH_PART
#undef EVEN_PARTS
#undef ODD_PARTS

#endif
