/* What threads that hand work to each other need: numbers and pointers that all of them see at once, in one order; a
 * clock; a pause, with which one waits without sleep; and a way to another core.
 */
#ifndef CGRAPH_SPIN_H
#define CGRAPH_SPIN_H

#include <stdint.h>
/* These names of sched.h need _GNU_SOURCE, which Python.h defines: it must come first, as in all that Cython writes. */
#ifdef __linux__
#include <sched.h>
#endif

typedef long s_state;

#ifdef __GNUC__

static inline s_state s_load(s_state *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void *s_load_pointer(void **p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
/* Returns what stood there before. */
static inline s_state s_exchange(s_state *p, s_state new) { return __atomic_exchange_n(p, new, __ATOMIC_SEQ_CST); }
/* Only if the old one stands there; whether it did. */
static inline int s_replace(s_state *p, s_state old, s_state new) {
    return __atomic_compare_exchange_n(p, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline int s_replace_pointer(void **p, void *old, void *new) {
    return __atomic_compare_exchange_n(p, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

#if defined(__x86_64__) || defined(__i386__)
static inline void s_pause(void) { __builtin_ia32_pause(); }
#elif defined(__aarch64__)
static inline void s_pause(void) { __asm__ volatile("isb" ::: "memory"); } /* yield takes no time at all */
#else
static inline void s_pause(void) { __asm__ volatile("" ::: "memory"); }
#endif

#else

#include <intrin.h>

#if defined(_M_X64) || defined(_M_IX86)
/* Volatile reads are ordered here. They leave the line to all who look at it. */
static inline s_state s_load(s_state *p) { return *(volatile s_state *)p; }
static inline void *s_load_pointer(void **p) { return *(void *volatile *)p; }
#else
/* Not a plain read: that orders nothing on ARM. */
static inline s_state s_load(s_state *p) { return _InterlockedOr(p, 0); }
static inline void *s_load_pointer(void **p) { return _InterlockedCompareExchangePointer(p, 0, 0); }
#endif
static inline s_state s_exchange(s_state *p, s_state new) { return _InterlockedExchange(p, new); }
static inline int s_replace(s_state *p, s_state old, s_state new) {
    return _InterlockedCompareExchange(p, new, old) == old;
}
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

/* The core that this thread is on. */
static inline int s_core(void) { return sched_getcpu(); }
/* Moves this thread to another core, if it may use one; from there it may be moved as before. */
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
