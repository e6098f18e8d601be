/* Philox 4x32 of seven rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011).
 *
 * A block of four words is a function of a key and a counter: no state, so that any thread computes any block. The key
 * is the seed of a Dropout; the counter of a block is the number of the block in its sample (two words) and the number
 * of the sample (two words). Element i of a sample has half a word of block i / 8: the lower half of word i % 8 or,
 * from 4 on, the upper half of word i % 8 - 4. A vector computes V_LANES blocks.
 * The lanes of vectors are taken to be little-endian, as they are on x86-64 and aarch64.
 */
#ifndef CGRAPH_PHILOX_H
#define CGRAPH_PHILOX_H

#include "simd.h"

#define PHILOX_ROUNDS 7

/* A lane has one word of a counter in its lower half, and anything in the upper half, which no product reads. */
#if defined(__GNUC__) && !defined(CGRAPH_SCALAR)
typedef uint64_t philox_word __attribute__((vector_size(V_BYTES)));
#else
typedef uint64_t philox_word;
#endif

/* The product of the words in a with a number, in 64 bits. */
static inline philox_word philox_product(philox_word a, uint32_t factor) {
#if defined(V_BIT_MASKS)
    return (philox_word)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(factor));
#elif defined(V_SIGNS) && V_BYTES == 32
    return (philox_word)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(factor));
#elif defined(V_SIGNS)
    return (philox_word)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(factor));
#else
    return (a & UINT32_MAX) * factor;
#endif
}

/* The keys of all rounds, for the whole of a loop: a compiler would compute them anew for each block. */
typedef struct {
    philox_word low[PHILOX_ROUNDS], high[PHILOX_ROUNDS];
} philox_keys;

static inline void philox_expand(philox_keys *keys, uint64_t seed) {
    const philox_word zero = {0};
    uint32_t low = (uint32_t)seed, high = (uint32_t)(seed >> 32);
    int round;
    for (round = 0; round < PHILOX_ROUNDS; round++) {
        keys->low[round] = zero + low;
        keys->high[round] = zero + high;
        low += 0x9E3779B9;
        high += 0xBB67AE85;
    }
}

/* Replaces the counters of blocks by the blocks. */
static inline void philox_blocks(philox_word c[4], const philox_keys *keys) {
    int round;
    UNROLLED
    for (round = 0; round < PHILOX_ROUNDS; round++) {
        philox_word product0 = philox_product(c[0], 0xD2511F53), product1 = philox_product(c[2], 0xCD9E8D57);
        c[0] = (product1 >> 32) ^ (c[1] ^ keys->low[round]);
        c[1] = product1;
        c[2] = (product0 >> 32) ^ (c[3] ^ keys->high[round]);
        c[3] = product0;
    }
}

/* For the blocks with the counters in c, which are V_LANES: a mask for each of their eight halves of words, which has
 * all bits of the lanes where the half is at least `threshold` / 2^16. The lower half of `threshold` is 0. */
static inline void philox_keep(vbits c[4], const philox_keys *keys, uint32_t threshold, vec keep[8]) {
    int k;
#if defined(__GNUC__) && !defined(CGRAPH_SCALAR)
    philox_word even[4];
#ifdef CGRAPH_FLOAT32
    /* A lane of 64 bits for each of two neighbours. */
    philox_word odd[4];
    for (k = 0; k < 4; k++) {
        even[k] = (philox_word)c[k];
        odd[k] = even[k] >> 32;
    }
    philox_blocks(even, keys);
    philox_blocks(odd, keys);
    for (k = 0; k < 4; k++) c[k] = (vbits)((even[k] & UINT32_MAX) | odd[k] << 32);
#else
    for (k = 0; k < 4; k++) even[k] = c[k];
    philox_blocks(even, keys);
    for (k = 0; k < 4; k++) c[k] = even[k];
#endif
    for (k = 0; k < 4; k++) {
        keep[k] = v_of_bits((vbits)((c[k] << 16 & UINT32_MAX) >= threshold));
        keep[k + 4] = v_of_bits((vbits)((c[k] & UINT32_MAX) >= threshold));
    }
#else
    philox_word words[4];
    for (k = 0; k < 4; k++) words[k] = c[k];
    philox_blocks(words, keys);
    for (k = 0; k < 4; k++) {
        keep[k] = v_of_bits((uint32_t)words[k] << 16 >= threshold ? (vbits)-1 : 0);
        keep[k + 4] = v_of_bits((uint32_t)words[k] >= threshold ? (vbits)-1 : 0);
    }
#endif
}

/* The masks of 8 V_LANES elements of one sample, from the first element of a block on, one vector behind the other. */
static inline void v_keep_elements(
    vec keep[8], const philox_keys *keys, uint64_t sample, ptrdiff_t block, uint32_t threshold) {
#if defined(__GNUC__) && !defined(CGRAPH_SCALAR)
    const vbits index = {V_INDICES}, zero = {0};
    vbits c[4] = {index + (r_bits)block, zero, zero + (uint32_t)sample, zero + (uint32_t)(sample >> 32)};
    int round, k;
    philox_keep(c, keys, threshold, keep);
    /* Vector k has element k of each block: three times, the elements of both halves of the vectors take turns. */
    for (round = 0; round < 3; round++) {
        vec turns[8];
        for (k = 0; k < 4; k++) {
            turns[2 * k] = v_zip_low(keep[k], keep[k + 4]);
            turns[2 * k + 1] = v_zip_high(keep[k], keep[k + 4]);
        }
        for (k = 0; k < 8; k++) keep[k] = turns[k];
    }
#else
    vbits c[4] = {(vbits)block, 0, (uint32_t)sample, (uint32_t)(sample >> 32)};
    philox_keep(c, keys, threshold, keep);
#endif
}

/* The masks of the eight elements of a block, each for V_LANES samples from a first one on. */
static inline void v_keep_lanes(
    vec keep[8], const philox_keys *keys, uint64_t first, ptrdiff_t block, uint32_t threshold) {
#if defined(__GNUC__) && !defined(CGRAPH_SCALAR)
    const vbits index = {V_INDICES}, zero = {0};
#ifdef CGRAPH_FLOAT32
    vbits low = index + (uint32_t)first;
    vbits high = (uint32_t)(first >> 32) - (vbits)(low < index);
#else
    vbits low = index + first, high = low >> 32;
#endif
    vbits c[4] = {zero + (r_bits)block, zero, low, high};
    philox_keep(c, keys, threshold, keep);
#else
    v_keep_elements(keep, keys, first, block, threshold);
#endif
}

/* v in the lanes of a mask, 0 elsewhere, whatever v is there. */
static inline vec v_kept(vec keep, vec v) { return v_of_bits(v_bits(v) & v_bits(keep)); }

#endif
