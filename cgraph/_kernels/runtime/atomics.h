/* Atomic numbers and pointers, a clock, a pause for spinning, and a move to another core: the means by which threads
 * hand work to each other.
 */
#ifndef CGRAPH_ATOMICS_H
#define CGRAPH_ATOMICS_H

#include <stdint.h>
/* sched_getcpu and the affinity calls need _GNU_SOURCE, which Python.h defines: Cython includes Python.h first. */
#ifdef __linux__
#include <sched.h>
#endif

typedef long s_state;

#ifdef __GNUC__

static inline s_state s_load(s_state *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void *s_load_pointer(void **p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
/* Stores a value and returns the one before. */
static inline s_state s_exchange(s_state *p, s_state new) { return __atomic_exchange_n(p, new, __ATOMIC_SEQ_CST); }
/* Stores the new value if the present one is `old`; returns whether it was. */
static inline int s_replace(s_state *p, s_state old, s_state new) {
    return __atomic_compare_exchange_n(p, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
/* Adds to a number and returns the sum. */
static inline s_state s_add(s_state *p, s_state summand) { return __atomic_add_fetch(p, summand, __ATOMIC_SEQ_CST); }
static inline int s_replace_pointer(void **p, void *old, void *new) {
    return __atomic_compare_exchange_n(p, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

#if defined(__x86_64__) || defined(__i386__)
static inline void s_pause(void) { __builtin_ia32_pause(); }
#elif defined(__aarch64__)
static inline void s_pause(void) { __asm__ volatile("isb" ::: "memory"); } /* `yield` would take no time at all */
#else
static inline void s_pause(void) { __asm__ volatile("" ::: "memory"); }
#endif

#else

#include <intrin.h>

#if defined(_M_X64) || defined(_M_IX86)
/* MSVC orders volatile reads on x86. A read, unlike an exchange, leaves the cache line shared among its readers. */
static inline s_state s_load(s_state *p) { return *(volatile s_state *)p; }
static inline void *s_load_pointer(void **p) { return *(void *volatile *)p; }
#else
/* An interlocked operation, since a plain read orders nothing on ARM. */
static inline s_state s_load(s_state *p) { return _InterlockedOr(p, 0); }
static inline void *s_load_pointer(void **p) { return _InterlockedCompareExchangePointer(p, 0, 0); }
#endif
static inline s_state s_exchange(s_state *p, s_state new) { return _InterlockedExchange(p, new); }
static inline int s_replace(s_state *p, s_state old, s_state new) {
    return _InterlockedCompareExchange(p, new, old) == old;
}
static inline s_state s_add(s_state *p, s_state summand) { return _InterlockedExchangeAdd(p, summand) + summand; }
static inline int s_replace_pointer(void **p, void *old, void *new) {
    return _InterlockedCompareExchangePointer(p, new, old) == old;
}

#if defined(_M_X64) || defined(_M_IX86)
static inline void s_pause(void) { _mm_pause(); }
#else
static inline void s_pause(void) { __yield(); }
#endif

#endif

#ifdef __linux__

/* Returns the core on which this thread runs. */
static inline int s_core(void) { return sched_getcpu(); }
/* Moves this thread away from a core, if its affinity allows another one. The affinity is the same afterwards. */
static inline void s_leave(int core) {
    cpu_set_t all, others;
    if (core < 0 || core >= CPU_SETSIZE || sched_getaffinity(0, sizeof all, &all)) return;
    others = all;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof others, &others)) sched_setaffinity(0, sizeof all, &all);
}

#else

static inline int s_core(void) { return -1; }
static inline void s_leave(int core) { (void)core; }

#endif

#ifdef _WIN32

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

static inline int64_t s_nanoseconds(void) {
    LARGE_INTEGER now, second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&second);
    return (int64_t)((double)now.QuadPart / (double)second.QuadPart * 1e9);
}

#else

#include <time.h>

static inline int64_t s_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif

#endif
